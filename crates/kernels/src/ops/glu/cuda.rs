//! `glu` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Activation, Args, Desc, EXACTNESS, Glu};
use crate::cuda::{Launcher, PRELUDE, blocks};
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Glu> = Variant {
    id: "glu/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cuda(glu),
};

const SOURCE: Source = Source { name: "glu", parts: &[PRELUDE, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    gate: *const f32,
    up: *const f32,
    out: *mut f32,
    count: u64,
}

unsafe fn glu(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let count = args.num_rows * desc.width;
    let constants = [("GELU_TANH", i64::from(desc.activation == Activation::GeluTanh))];
    let kernel = Kernel { source: &SOURCE, entry: "glu", constants: &constants };
    let device_args = DeviceArgs { gate: args.gate, up: args.up, out: args.out, count: count as u64 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(blocks(count, 256), 256), &device_args) }
}
