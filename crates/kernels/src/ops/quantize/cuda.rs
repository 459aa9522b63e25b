//! `quantize` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, FaultPlace, Grid, Kernel, Source};

use super::{Args, BLOCK, Desc, EXACTNESS, Quantize, row_bytes};
use crate::cuda::{Launcher, PRELUDE, blocks};
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Quantize> = Variant {
    id: "quantize/q8/cuda",
    needs: &[Feature::Cuda],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cuda(quantize),
};

const SOURCE: Source = Source { name: "quantize", parts: &[PRELUDE, include_str!("cuda.cu")] };

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
