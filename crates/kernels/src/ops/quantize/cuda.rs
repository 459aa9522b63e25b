//! `quantize` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, FaultPlace, Grid, Kernel, Source};

use super::{Args, BLOCK, Codes, Desc, EXACTNESS, Quantize, row_bytes};
use crate::cuda::{Launcher, PRELUDE, blocks};
use crate::variant::{Launch, Variant};

/// int8, any shape.
pub const INT8: Variant<Quantize> = Variant {
    id: "quantize/q8/cuda",
    needs: &[Feature::Cuda],
    exactness: EXACTNESS,
    accepts: |desc| desc.codes == Codes::Int8,
    launch: Launch::Cuda(quantize),
};

/// Halves, any shape.
pub const HALF: Variant<Quantize> = Variant {
    id: "quantize/f16/cuda",
    needs: &[Feature::Cuda],
    exactness: Codes::Half.exactness(),
    accepts: |desc| desc.codes == Codes::Half,
    launch: Launch::Cuda(halve),
};

const SOURCE: Source = Source { name: "quantize", parts: &[PRELUDE, include_str!("cuda.cu")] };
const HALF_SOURCE: Source = Source { name: "halve", parts: &[PRELUDE, HALVES, include_str!("cuda_half.cu")] };
/// Rows of floats as halves, by a block of threads; for kernels that do more at once, too.
pub(crate) const HALVES: &str = include_str!("cuda_halves.cu");

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    x: *const f32,
    out: *mut u8,
    row_bytes: u64,
    num_blocks: u64,
    fault: FaultPlace,
    width: u32,
}

unsafe fn quantize(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let num_blocks = args.num_rows * desc.width / BLOCK;
    let kernel = Kernel { source: &SOURCE, entry: "quantize", constants: &[] };
    let device_args = DeviceArgs {
        x: args.x,
        out: args.out,
        row_bytes: row_bytes(desc.width) as u64,
        num_blocks: num_blocks as u64,
        fault: launcher.queue.fault_place(),
        width: desc.width as u32,
    };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(blocks(num_blocks, 8), 256), &device_args) }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct HalfArgs {
    x: *const f32,
    out: *mut u16,
    factors: *mut f32,
    fault: FaultPlace,
    width: u32,
}

unsafe fn halve(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let kernel = Kernel { source: &HALF_SOURCE, entry: "halve", constants: &[] };
    let device_args = HalfArgs {
        x: args.x,
        out: args.out.cast(),
        factors: args.out.wrapping_add(2 * desc.width * args.num_rows).cast(),
        fault: launcher.queue.fault_place(),
        width: desc.width as u32,
    };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(args.num_rows as u32, 256), &device_args) }
}
