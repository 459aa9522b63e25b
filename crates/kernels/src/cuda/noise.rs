//! Weights out of nothing, for models that are only a shape: made on the device, of any type whose scales are halves.

use device::cuda::{CudaError, Grid, Kernel, Queue, Source};
use gguf::DType;
use half::{bf16, f16};

use super::{PRELUDE, blocks};

const SOURCE: Source = Source { name: "noise", parts: &[PRELUDE, include_str!("noise.cu")] };

/// Spread of the weights.
const SPREAD: f32 = 0.02;

/// `Args` of `noise.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Args {
    out: *mut u8,
    num_halves: u64,
    seed: u64,
    block: u32,
    scale_at: u32,
    min_at: u32,
    scale: u32,
    min: u32,
    in_nibbles: u32,
    keep: u32,
    set: u32,
}

/// Fills memory with blocks of `dtype`.
///
/// # Errors
/// When the type has no form here, or the kernel cannot be launched.
///
/// # Safety
/// `out` must have room for `bytes` bytes on the device.
pub(super) unsafe fn fill(queue: &Queue, dtype: DType, out: *mut u8, bytes: usize, seed: u64) -> Result<(), CudaError> {
    let form = form(dtype).ok_or_else(|| CudaError::NoDevice(format!("weights of type {dtype} cannot be made up")))?;
    let args = Args { out, num_halves: bytes as u64 / 2, seed, ..form };
    let kernel = Kernel { source: &SOURCE, entry: "noise", constants: &[] };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { queue.launch(&kernel, Grid::row(blocks(bytes, 2048).clamp(1, 4096), 256), &args) }
}

/// Where the blocks of a type keep their scale (in halves), and what it must be.
fn form(dtype: DType) -> Option<Args> {
    use DType::*;
    let block = (dtype.block_bytes() / 2) as u32;
    let args = Args {
        out: std::ptr::null_mut(),
        num_halves: 0,
        seed: 0,
        block,
        scale_at: block,
        min_at: block,
        scale: 0,
        min: 0,
        in_nibbles: 0,
        keep: 0xffff,
        set: 0,
    };
    // `spread`: of the codes times the scales inside the block; `min`: what stands for zero, in units of the scale.
    let scaled = |scale_at: u32, spread: f32| {
        let scale = u32::from(f16::from_f32(SPREAD / spread).to_bits());
        Args { scale_at, scale, ..args }
    };
    let shifted = |scale_at: u32, spread: f32, min: f32| {
        let min = u32::from(f16::from_f32(min * SPREAD / spread).to_bits());
        Args { min_at: scale_at + 1, min, ..scaled(scale_at, spread) }
    };
    Some(match dtype {
        // An exponent of -7 or -6; any sign and fraction.
        BF16 => Args { keep: 0x80ff, set: u32::from(bf16::from_f32(1.0 / 128.0).to_bits()), ..args },
        F16 => Args { keep: 0x87ff, set: u32::from(f16::from_f32(1.0 / 128.0).to_bits()), ..args },
        Q4_0 | IQ4_NL => scaled(0, if dtype == Q4_0 { 4.6 } else { 70.0 }),
        Q4_1 => shifted(0, 4.6, -7.5),
        Q5_0 => scaled(0, 9.2),
        Q5_1 => shifted(0, 9.2, -15.5),
        Q8_0 => scaled(0, 74.0),
        // Scales inside are 0 to 63 and as random as the codes; so are the offsets' factors.
        Q4_K => shifted(0, 31.0 * 4.6, 7.5),
        Q5_K => shifted(0, 31.0 * 9.2, 15.5),
        Q6_K => scaled(104, 74.0 * 18.5),
        Q2_K => shifted(40, 7.5 * 1.1, 1.5),
        Q3_K => scaled(54, 18.5 * 2.3),
        IQ4_XS => scaled(0, 18.5 * 70.0),
        IQ3_S => scaled(0, 18.5 * 9.0),
        IQ3_XXS => scaled(0, 4.6 * 33.0),
        IQ2_XXS | IQ2_XS | IQ2_S => scaled(0, 2.3 * 24.0),
        IQ1_S => scaled(0, 9.2 * 0.75),
        // The four halves before the end.
        IQ1_M => Args { in_nibbles: 1, ..scaled(24, 9.2 * 0.75) },
        TQ1_0 => scaled(26, 0.8),
        TQ2_0 => scaled(32, 1.2),
        Q1_0 | Q2_0 => scaled(0, 1.1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a block of random codes with these scales decodes to.
    #[test]
    fn what_is_made_up_has_the_spread_of_weights() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u16
        };
        for dtype in DType::all() {
            let Some(form) = form(dtype) else { continue };
            let num_blocks = 4096 / dtype.block_len();
            let halves: Vec<u16> = (0..num_blocks as u32 * form.block)
                .map(|i| match i % form.block {
                    at if form.in_nibbles == 1 && (form.scale_at..form.scale_at + 4).contains(&at) => {
                        random() & 0xfff | (form.scale >> (4 * (at - form.scale_at)) << 12) as u16
                    }
                    at if form.in_nibbles == 0 && at == form.scale_at => form.scale as u16,
                    at if at == form.min_at => form.min as u16,
                    _ => random() & form.keep as u16 | form.set as u16,
                })
                .collect();
            let mut values = vec![0f32; 4096];
            gguf::decode(dtype, bytemuck::cast_slice(&halves), &mut values).unwrap();
            let spread = (values.iter().map(|value| value * value).sum::<f32>() / 4096.0).sqrt();
            assert!((0.5..2.0).contains(&(spread / SPREAD)), "{dtype}: {spread}");
        }
    }
}
