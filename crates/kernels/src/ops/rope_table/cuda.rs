//! `rope_table` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Args, Desc, RopeTable};
use crate::cuda::{Launcher, PRELUDE};
use crate::variant::{Exactness, Launch, Variant, any};

/// Any shape. Sine and cosine in f64 differ from the host's in the last place at most, which rounding to f32 nearly
/// always hides.
pub const VARIANT: Variant<RopeTable> = Variant {
    id: "rope_table/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 1 },
    accepts: any,
    launch: Launch::Cuda(rope_table),
};

const SOURCE: Source = Source { name: "rope_table", parts: &[PRELUDE, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    positions: *const u32,
    inv_freq: *const f32,
    out: *mut f32,
    half: u32,
    magnitude: f32,
}

unsafe fn rope_table(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let kernel = Kernel { source: &SOURCE, entry: "rope_table", constants: &[] };
    let device_args = DeviceArgs {
        positions: args.positions,
        inv_freq: launcher.weight(args.inv_freq),
        out: args.out,
        half: (desc.rotary_dim / 2) as u32,
        magnitude: desc.magnitude,
    };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(args.num_rows as u32, 128), &device_args) }
}
