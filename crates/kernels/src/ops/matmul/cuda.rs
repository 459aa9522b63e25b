//! `matmul` on CUDA devices, weights in the blocks of the file: int8 activations, and f32 for the exact plan and for
//! weights that are no codes. Products of halves, for many rows, stand in `cuda_half`.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Args, Desc, Input, Matmul};
use crate::cuda::{BLOCKS, LATTICE, Launcher, POINTS, PRELUDE, TILES, blocks, has_form, type_constant};
use crate::ops::quantize;
use crate::packed::Form;
use crate::variant::{Exactness, Launch, Variant};

/// int8 activations, any number of rows. Integer products are exact; what differs is the order of the f32 sums.
pub const Q8: Variant<Matmul> = Variant {
    id: "matmul/q8/cuda-dot",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 64 },
    accepts: |desc| takes(desc, Input::Q8) && desc.weight.is_quantized(),
    launch: Launch::Cuda(q8),
};

/// f32 activations, any number of rows, weights in either form.
pub const F32: Variant<Matmul> = Variant {
    id: "matmul/f32/cuda-dot",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 64 },
    accepts: |desc| desc.input == Input::F32 && desc.form != Form::Packed && has_form(desc.weight),
    launch: Launch::Cuda(f32),
};

pub(super) fn takes(desc: &Desc, input: Input) -> bool {
    desc.input == input && desc.form == Form::Rows && has_form(desc.weight)
}

const Q8_SOURCE: Source = Source {
    name: "matmul_q8",
    parts: &[PRELUDE, BLOCKS, POINTS, LATTICE, include_str!("cuda_q8_strip.cu"), include_str!("cuda_q8.cu")],
};
const F32_SOURCE: Source =
    Source { name: "matmul_f32", parts: &[PRELUDE, BLOCKS, POINTS, LATTICE, include_str!("cuda_f32.cu")] };
const TILED_F32_SOURCE: Source =
    Source { name: "matmul_f32_tiles", parts: &[PRELUDE, BLOCKS, TILES, include_str!("cuda_f32.cu")] };

/// Warps of a block of `cuda_q8.cu`.
const Q8_WARPS: usize = 8;
/// Rows of weights per block of `cuda_f32.cu`: a warp each.
const WARPS: usize = 4;

#[repr(C)]
#[derive(Clone, Copy)]
struct Q8Args {
    weight: *const u8,
    bias: *const f32,
    x: *const u8,
    out: *mut f32,
    row_bytes: u64,
    x_row_bytes: u64,
    n: u32,
    k: u32,
    num_rows: u32,
    split: u32,
}

unsafe fn q8(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    // Warps that share a row of weights: a lane of each has a strip to begin with.
    let split = (desc.k / 32).div_ceil(32).next_power_of_two().min(Q8_WARPS);
    let blocks_of = |weight_rows| blocks(desc.n, Q8_WARPS / split * weight_rows);
    let (entry, rows, weight_rows) = match args.num_rows {
        // Fewer blocks than multiprocessors would leave some of these without work.
        0 | 1 if blocks_of(4) < launcher.queue.num_sms() => ("dot_1_1", 1, 1),
        0 | 1 => ("dot_1_4", 1, 4),
        2 => ("dot_2_4", 2, 4),
        3 | 4 => ("dot_4_2", 4, 2),
        _ => ("dot_8_2", 8, 2),
    };
    let device_args = Q8Args {
        weight: launcher.weight(args.weight),
        bias: launcher.weight(args.bias),
        x: args.x,
        out: args.out,
        row_bytes: desc.row_bytes as u64,
        x_row_bytes: quantize::row_bytes(desc.k) as u64,
        n: desc.n as u32,
        k: desc.k as u32,
        num_rows: args.num_rows as u32,
        split: split.ilog2(),
    };
    let kernel = Kernel { source: &Q8_SOURCE, entry, constants: &[type_constant(desc.weight)] };
    let blocks = [blocks_of(weight_rows), blocks(args.num_rows, rows), 1];
    let grid = Grid { blocks, threads: 32 * Q8_WARPS as u32, shared_bytes: 0 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid, &device_args) }
}

/// `Args` of `cuda_f32.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct F32Args {
    weight: *const u8,
    bias: *const f32,
    x: *const f32,
    out: *mut f32,
    row_bytes: u64,
    n: u32,
    k: u32,
    num_rows: u32,
}

unsafe fn f32(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let source = if desc.form == Form::Tiles { &TILED_F32_SOURCE } else { &F32_SOURCE };
    let kernel = Kernel { source, entry: "dot_f32", constants: &[type_constant(desc.weight)] };
    let grid = Grid {
        blocks: [blocks(desc.n, WARPS), blocks(args.num_rows, 4), 1],
        threads: 32 * WARPS as u32,
        shared_bytes: 0,
    };
    let device_args = F32Args {
        weight: launcher.weight(args.weight),
        bias: launcher.weight(args.bias),
        x: args.x.cast(),
        out: args.out,
        row_bytes: desc.row_bytes as u64,
        n: desc.n as u32,
        k: desc.k as u32,
        num_rows: args.num_rows as u32,
    };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid, &device_args) }
}
