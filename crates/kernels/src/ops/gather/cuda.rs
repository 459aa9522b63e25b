//! `gather` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Args, Desc, Gather};
use crate::cuda::{Launcher, PRELUDE};
use crate::variant::{Exactness, Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Gather> = Variant {
    id: "gather/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cuda(gather),
};

const SOURCE: Source = Source { name: "gather", parts: &[PRELUDE, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    x: *const f32,
    out: *mut f32,
    output_rows: *const u32,
    width: u64,
}

unsafe fn gather(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let kernel = Kernel { source: &SOURCE, entry: "gather", constants: &[] };
    let device_args = DeviceArgs { x: args.x, out: args.out, output_rows: args.output_rows, width: desc.width as u64 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(args.num_outputs as u32, 256), &device_args) }
}
