//! `add` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Add, Args, Desc};
use crate::cuda::{Launcher, PRELUDE, blocks};
use crate::variant::{Exactness, Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Add> = Variant {
    id: "add/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cuda(add),
};

const SOURCE: Source = Source { name: "add", parts: &[PRELUDE, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    x: *mut f32,
    y: *const f32,
    count: u64,
}

unsafe fn add(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let count = args.num_rows * desc.width;
    let kernel = Kernel { source: &SOURCE, entry: "add", constants: &[] };
    let device_args = DeviceArgs { x: args.x, y: args.y, count: count as u64 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(blocks(count, 256), 256), &device_args) }
}
