//! `embed` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Args, Desc, Embed};
use crate::cuda::{BLOCKS, LATTICE, Launcher, POINTS, PRELUDE, TILES, has_form, type_constant};
use crate::packed::Form;
use crate::variant::{Exactness, Launch, Variant};

/// Tables as they lie in the file, or in tiles.
pub const VARIANT: Variant<Embed> = Variant {
    id: "embed/any/cuda",
    needs: &[Feature::Cuda],
    exactness: Exactness::Bitwise,
    accepts: |desc| desc.form != Form::Packed && has_form(desc.table),
    launch: Launch::Cuda(embed),
};

const SOURCE: Source = Source { name: "embed", parts: &[PRELUDE, BLOCKS, POINTS, LATTICE, include_str!("cuda.cu")] };
const TILED: Source = Source { name: "embed_tiles", parts: &[PRELUDE, BLOCKS, TILES, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    tokens: *const u32,
    table: *const u8,
    out: *mut f32,
    row_bytes: u64,
    width: u32,
    scale: f32,
}

unsafe fn embed(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let source = if desc.form == Form::Tiles { &TILED } else { &SOURCE };
    let kernel = Kernel { source, entry: "embed", constants: &[type_constant(desc.table)] };
    let device_args = DeviceArgs {
        tokens: args.tokens,
        table: launcher.weight(args.table),
        out: args.out,
        row_bytes: desc.row_bytes as u64,
        width: desc.width as u32,
        scale: desc.scale,
    };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, Grid::row(args.num_rows as u32, 128), &device_args) }
}
