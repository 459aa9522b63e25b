//! `softcap` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Args, Desc, EXACTNESS, Softcap};
use crate::cuda::{Launcher, PRELUDE, blocks};
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Softcap> = Variant {
    id: "softcap/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cuda(softcap),
};

const SOURCE: Source = Source { name: "softcap", parts: &[PRELUDE, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    x: *mut f32,
    count: u64,
    cap: f32,
}

unsafe fn softcap(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let count = args.num_rows * desc.width;
    let kernel = Kernel { source: &SOURCE, entry: "softcap", constants: &[] };
    let device_args = DeviceArgs { x: args.x, count: count as u64, cap: desc.cap };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(blocks(count, 256), 256), &device_args) }
}
