//! Quick agreement of every matmul variant with the reference on one ragged shape per type; the
//! conformance suite walks many more.

use device::{Feature, Hardware, Pool};
use gguf::DType;

use super::{Args, Desc, Input, Matmul};
use crate::op::{Op, Rows};
use crate::ops::quantize;
use crate::variant::Launch;

fn noise(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    ((*seed >> 40) as f32 / (1 << 23) as f32) - 1.0
}

/// Random bytes make wild scales; takes the exponents of everything that may be one down to about 1.
fn tame(dtype: DType, packed: &mut [u8]) {
    if !dtype.is_quantized() {
        return;
    }
    for block in packed.chunks_mut(dtype.block_bytes()) {
        match dtype {
            DType::MXFP4 => block[0] = 120,
            DType::NVFP4 => block[..4].fill(0x38),
            _ => block.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair[1] = pair[1] & 0x83 | 0x10),
        }
    }
}

#[test]
fn variants_agree_with_the_reference() {
    let hardware = Hardware::probe();
    let mut pool = Pool::new(2).unwrap();
    let mut seed = 7;
    for dtype in DType::all().filter(|dtype| dtype.is_quantized() || matches!(dtype, DType::F32 | DType::F16)) {
        for (n, k, num_rows) in [(45, 768, 1), (45, 512, 3), (70, 256, 23), (33, 576 / 64 * 64, 8)] {
            let Some(row_bytes) = dtype.row_bytes(k) else { continue };
            let mut packed: Vec<u8> = (0..n * row_bytes).map(|_| (noise(&mut seed) * 127.0) as i8 as u8).collect();
            if !dtype.is_quantized() {
                packed = (0..n * k)
                    .flat_map(|_| match dtype {
                        DType::F32 => noise(&mut seed).to_le_bytes().to_vec(),
                        _ => half::f16::from_f32(noise(&mut seed)).to_le_bytes().to_vec(),
                    })
                    .collect();
            }
            tame(dtype, &mut packed);
            let x: Vec<f32> = (0..num_rows * k).map(|_| noise(&mut seed)).collect();
            let mut q8 = vec![0u8; num_rows * quantize::row_bytes(k)];
            for r in 0..num_rows {
                let (mut codes, mut scales, mut sums) = (vec![0; k], vec![0f32; k / 32], vec![0i16; k / 16]);
                quantize::reference::quantize(&x[r * k..][..k], &mut codes, &mut scales, &mut sums);
                let at = &mut q8[r * quantize::row_bytes(k)..];
                at[..k].copy_from_slice(bytemuck::cast_slice(&codes));
                at[k..][..k / 8].copy_from_slice(bytemuck::cast_slice(&scales));
                at[k + k / 8..][..k / 8].copy_from_slice(bytemuck::cast_slice(&sums));
            }
            let bias: Vec<f32> = (0..n).map(|_| noise(&mut seed)).collect();
            for input in [Input::F32, Input::Q8] {
                if input == Input::Q8 && !dtype.is_quantized() {
                    continue;
                }
                let desc = Desc { weight: dtype, input, n, k, row_bytes, bias: true, rows: Rows::of(num_rows) };
                let mut expected = Vec::new();
                for &variant in Matmul::VARIANTS.iter().rev() {
                    if !(variant.accepts)(&desc) || variant.needs.iter().any(|&f: &Feature| !hardware.has(f)) {
                        continue;
                    }
                    let mut out = vec![f32::NAN; num_rows * n];
                    let (weight, bias, out_at) =
                        (packed.as_ptr() as usize, bias.as_ptr() as usize, out.as_mut_ptr() as usize);
                    let x_at = if input == Input::F32 { x.as_ptr() as usize } else { q8.as_ptr() as usize };
                    pool.run(&|shard| {
                        let args = Args {
                            weight: weight as *const u8,
                            bias: bias as *const f32,
                            x: x_at as *const u8,
                            out: out_at as *mut f32,
                            num_rows,
                        };
                        let Launch::Cpu(kernel) = variant.launch;
                        // SAFETY: all buffers live and have the described shapes; features were checked.
                        unsafe { kernel(&desc, &args, shard) };
                    })
                    .unwrap();
                    if expected.is_empty() {
                        expected = out;
                        continue;
                    }
                    let scale = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
                    for (i, (a, b)) in expected.iter().zip(&out).enumerate() {
                        assert!((a - b).abs() <= 2e-5 * scale, "{} {desc:?} value {i}: {a} against {b}", variant.id);
                    }
                }
            }
        }
    }
}
