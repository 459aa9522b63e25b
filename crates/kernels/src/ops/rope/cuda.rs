//! `rope` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Args, Desc, EXACTNESS, Pairing, Rope};
use crate::cuda::{Launcher, PRELUDE, blocks};
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Rope> = Variant {
    id: "rope/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cuda(rope),
};

const SOURCE: Source = Source { name: "rope", parts: &[PRELUDE, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    x: *mut f32,
    table: *const f32,
    num_heads: u64,
    heads_per_row: u32,
    head_dim: u32,
    rotary_dim: u32,
}

unsafe fn rope(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let num_heads = args.num_rows * desc.num_heads;
    let constants = [("ADJACENT", i64::from(desc.pairing == Pairing::Adjacent))];
    let kernel = Kernel { source: &SOURCE, entry: "rope", constants: &constants };
    let device_args = DeviceArgs {
        x: args.x,
        table: args.table,
        num_heads: num_heads as u64,
        heads_per_row: desc.num_heads as u32,
        head_dim: desc.head_dim as u32,
        rotary_dim: desc.rotary_dim as u32,
    };
    let grid = Grid::row(blocks(num_heads * (desc.rotary_dim / 2), 256), 256);
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid, &device_args) }
}
