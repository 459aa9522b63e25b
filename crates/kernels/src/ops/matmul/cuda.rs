//! `matmul` on CUDA devices: int8 activations against the blocks of the file for few rows, halves and cuBLASLt for
//! many, and f32 for the exact plan and for weights that are no codes.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::{Args, Desc, Input, Matmul};
use crate::cuda::{BLOCKS, Launcher, PRELUDE, TILES, blocks, has_form, type_constant};
use crate::op::Rows;
use crate::ops::quantize;
use crate::packed::Form;
use crate::variant::{Exactness, Launch, Variant};

/// Many rows: weights and activations become halves, cuBLASLt multiplies them. Two roundings of 2^-11 each.
pub const HALF: Variant<Matmul> = Variant {
    id: "matmul/f16/cuda-blas",
    needs: &[Feature::Cuda, Feature::CublasLt],
    exactness: Exactness::Rounded { rel_ppb: 1_100_000 },
    accepts: |desc| takes(desc, Input::F32) && desc.rows == Rows::Many && desc.k.is_multiple_of(8),
    launch: Launch::Cuda(half),
};

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

fn takes(desc: &Desc, input: Input) -> bool {
    desc.input == input && desc.form == Form::Rows && has_form(desc.weight)
}

const Q8_SOURCE: Source = Source { name: "matmul_q8", parts: &[PRELUDE, BLOCKS, include_str!("cuda_q8.cu")] };
const F32_SOURCE: Source = Source { name: "matmul_f32", parts: &[PRELUDE, BLOCKS, include_str!("cuda_f32.cu")] };
const TILED_F32_SOURCE: Source =
    Source { name: "matmul_f32_tiles", parts: &[PRELUDE, BLOCKS, TILES, include_str!("cuda_f32.cu")] };
const WEIGHT_SOURCE: Source =
    Source { name: "half_weight", parts: &[PRELUDE, BLOCKS, include_str!("cuda_half_weight.cu")] };
pub(super) const HALF_SOURCE: Source = Source { name: "half", parts: &[PRELUDE, include_str!("cuda_half.cu")] };

/// Rows of weights per block of threads: a warp each.
const WARPS: usize = 4;

/// Bytes of weights that are halves at one time.
pub(super) const PIECE_BYTES: usize = 64 << 20;

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
}

unsafe fn q8(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let (entry, rows) = match args.num_rows {
        0 | 1 => ("dot_1", 1),
        2 => ("dot_2", 2),
        3 | 4 => ("dot_4", 4),
        _ => ("dot_8", 8),
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
    };
    let kernel = Kernel { source: &Q8_SOURCE, entry, constants: &[type_constant(desc.weight)] };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid(desc, args, rows), &device_args) }
}

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
    let source = if desc.form == Form::Tiles { &TILED_F32_SOURCE } else { &F32_SOURCE };
    let kernel = Kernel { source, entry: "dot_f32", constants: &[type_constant(desc.weight)] };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid(desc, args, 4), &device_args) }
}

fn grid(desc: &Desc, args: &Args, rows: usize) -> Grid {
    let blocks = [blocks(desc.n, WARPS), blocks(args.num_rows, rows), 1];
    Grid { blocks, threads: 32 * WARPS as u32, shared_bytes: 0 }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct WeightArgs {
    weight: *const u8,
    out: *mut u16,
    row_bytes: u64,
    k: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ToHalfArgs {
    x: *const f32,
    out: *mut u16,
    factors: *mut f32,
    k: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct FinishArgs {
    pub(super) out: *mut f32,
    pub(super) bias: *const f32,
    pub(super) factors: *const f32,
    pub(super) n: u32,
}

unsafe fn half(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let (m, n, k) = (args.num_rows, desc.n, desc.k);
    let x_bytes = (2 * m * k).next_multiple_of(256);
    let factor_bytes = (4 * m).next_multiple_of(256);
    let piece_rows = (PIECE_BYTES / (2 * k) / 64 * 64).clamp(64, n.next_multiple_of(64));
    let scratch = launcher.queue.scratch(x_bytes + factor_bytes + 2 * piece_rows * k)?;
    let x: *mut u16 = scratch.cast();
    let factors: *mut f32 = scratch.wrapping_add(x_bytes).cast();
    let weights: *mut u16 = scratch.wrapping_add(x_bytes + factor_bytes).cast();
    let weight = launcher.weight(args.weight);
    let entry = |entry| Kernel { source: &HALF_SOURCE, entry, constants: &[] };
    // SAFETY: the caller's promise; the structs are those of the sources; scratch has room for all three.
    unsafe {
        let to_half = ToHalfArgs { x: args.x.cast(), out: x, factors, k: k as u32 };
        launcher.launch(&entry("to_half"), Grid::row(m as u32, 256), &to_half)?;
        for first in (0..n).step_by(piece_rows) {
            let rows = piece_rows.min(n - first);
            let kernel =
                Kernel { source: &WEIGHT_SOURCE, entry: "weight_to_half", constants: &[type_constant(desc.weight)] };
            let piece = weight.wrapping_add(first * desc.row_bytes);
            let row_bytes = desc.row_bytes as u64;
            let device_args = WeightArgs { weight: piece, out: weights, row_bytes, k: k as u32 };
            launcher.launch(&kernel, Grid::row(rows as u32, 128), &device_args)?;
            launcher.queue.product_f16([m, rows, k, n], weights, x, args.out.wrapping_add(first))?;
        }
        let bias = launcher.weight(args.bias);
        let finish = FinishArgs { out: args.out, bias, factors, n: n as u32 };
        let grid = Grid { blocks: [m as u32, blocks(n, 2048), 1], threads: 256, shared_bytes: 0 };
        launcher.launch(&entry("finish"), grid, &finish)
    }
}
