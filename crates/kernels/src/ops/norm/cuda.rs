//! `norm` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, FaultPlace, Grid, Kernel, Source};

use super::{Args, Desc, EXACTNESS, Norm};
use crate::cuda::{Launcher, PRELUDE};
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Norm> = Variant {
    id: "norm/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cuda(norm),
};

const SOURCE: Source = Source { name: "norm", parts: &[PRELUDE, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    x: *const f32,
    weight: *const f32,
    out: *mut f32,
    width: u64,
    fault: FaultPlace,
    eps: f32,
}

unsafe fn norm(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let fours = desc.width.div_ceil(4).next_multiple_of(32);
    let (entry, threads) = match desc.width.is_multiple_of(4) {
        true if fours <= 1024 => ("norm_1", fours),
        true if fours <= 2048 => ("norm_2", fours.div_ceil(2).next_multiple_of(32)),
        _ => ("norm_rows", desc.width.next_multiple_of(32).clamp(32, 1024)),
    };
    let kernel = Kernel { source: &SOURCE, entry, constants: &[] };
    let device_args = DeviceArgs {
        x: args.x,
        weight: launcher.weight(args.weight),
        out: args.out,
        width: desc.width as u64,
        fault: launcher.queue.fault_place(),
        eps: desc.eps,
    };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row((args.num_rows * desc.groups) as u32, threads as u32), &device_args) }
}
