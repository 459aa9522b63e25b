//! Products of many rows on CUDA devices by way of halves: weights and activations are rounded to 16 bits in scratch
//! memory and cuBLASLt multiplies them. Here for weights in the blocks of the file; `cuda_tiles` brings its own halves.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};

use super::cuda::takes;
use super::{Args, Desc, Input, Matmul};
use crate::cuda::{BLOCKS, LATTICE, Launcher, POINTS, PRELUDE, blocks, type_constant};
use crate::op::Rows;
use crate::ops::quantize::cuda::HALVES;
use crate::variant::{Exactness, Launch, Variant};

/// Many rows: weights and activations become halves, cuBLASLt multiplies them. Two roundings of 2^-11 each.
pub const HALF: Variant<Matmul> = Variant {
    id: "matmul/f16/cuda-blas",
    needs: &[Feature::Cuda, Feature::CublasLt],
    exactness: Exactness::Rounded { rel_ppb: 1_100_000 },
    accepts: |desc| takes(desc, Input::F32) && desc.rows == Rows::Many && desc.k.is_multiple_of(8),
    launch: Launch::Cuda(half),
};

const WEIGHT_SOURCE: Source =
    Source { name: "half_weight", parts: &[PRELUDE, BLOCKS, POINTS, LATTICE, include_str!("cuda_half_weight.cu")] };
const SOURCE: Source = Source { name: "half", parts: &[PRELUDE, HALVES, include_str!("cuda_half.cu")] };

/// Rows of weights that a block of threads turns into halves.
const WEIGHT_ROWS: usize = 8;

/// Bytes of weights that are halves at one time.
const PIECE_BYTES: usize = 64 << 20;

#[repr(C)]
#[derive(Clone, Copy)]
struct WeightArgs {
    weight: *const u8,
    out: *mut u16,
    row_bytes: u64,
    n: u32,
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
struct FinishArgs {
    out: *mut f32,
    bias: *const f32,
    factors: *const f32,
    n: u32,
}

unsafe fn half(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let weight: *const u8 = launcher.weight(args.weight);
    let (row_bytes, k) = (desc.row_bytes as u64, desc.k as u32);
    let x_halves = |out, factors| {
        let kernel = Kernel { source: &SOURCE, entry: "to_half", constants: &[] };
        let device_args = ToHalfArgs { x: args.x.cast(), out, factors, k };
        // SAFETY: the caller's promise, and that of `product`; the struct is that of the source.
        unsafe { launcher.launch(&kernel, Grid::row(args.num_rows as u32, 256), &device_args) }
    };
    let weight_halves = |first: usize, rows: usize, out| {
        let constants = [type_constant(desc.weight)];
        let kernel = Kernel { source: &WEIGHT_SOURCE, entry: "weight_to_half", constants: &constants };
        let weight = weight.wrapping_add(first * desc.row_bytes);
        let grid = Grid::row(blocks(rows, WEIGHT_ROWS), 256);
        // SAFETY: as above.
        unsafe { launcher.launch(&kernel, grid, &WeightArgs { weight, out, row_bytes, n: rows as u32, k }) }
    };
    // SAFETY: the caller's promise; the closures write what they are asked for.
    unsafe { product(desc, args, launcher, Activations::Made(&x_halves), weight_halves) }
}

/// Activations as halves, `[num_rows, k]`, and what the results of each row are to be multiplied with.
pub(super) enum Activations<'a> {
    /// They are there.
    Given(*const u16, *const f32),
    /// Who writes them into scratch memory.
    Made(&'a dyn Fn(*mut u16, *mut f32) -> Result<(), CudaError>),
}

/// The product, given who makes the halves: those of the activations, and `weight_halves(first, rows, out)` those of some
/// rows of weights, `[rows, k]`, whose first is a multiple of 64.
///
/// # Safety
/// As for a variant's launch; the closures must write all that, and nothing else.
pub(super) unsafe fn product(
    desc: &Desc,
    args: &Args,
    launcher: &Launcher<'_>,
    activations: Activations<'_>,
    weight_halves: impl Fn(usize, usize, *mut u16) -> Result<(), CudaError>,
) -> Result<(), CudaError> {
    let (m, n, k) = (args.num_rows, desc.n, desc.k);
    let (x_bytes, factor_bytes) = match activations {
        Activations::Given(..) => (0, 0),
        Activations::Made(_) => ((2 * m * k).next_multiple_of(256), (4 * m).next_multiple_of(256)),
    };
    let piece_rows = (PIECE_BYTES / (2 * k) / 64 * 64).clamp(64, n.next_multiple_of(64));
    let scratch = launcher.queue.scratch(x_bytes + factor_bytes + 2 * piece_rows * k)?;
    let weights: *mut u16 = scratch.wrapping_add(x_bytes + factor_bytes).cast();
    let (x, factors) = match activations {
        Activations::Given(x, factors) => (x, factors),
        Activations::Made(make) => {
            let (x, factors) = (scratch.cast(), scratch.wrapping_add(x_bytes).cast());
            make(x, factors)?;
            (x.cast_const(), factors.cast_const())
        }
    };
    for first in (0..n).step_by(piece_rows) {
        let rows = piece_rows.min(n - first);
        weight_halves(first, rows, weights)?;
        // SAFETY: the caller's promise; scratch has room for all three and the halves are made.
        unsafe { launcher.queue.product_f16([m, rows, k, n], weights, x, args.out.wrapping_add(first)) }?;
    }
    let finish = FinishArgs { out: args.out, bias: launcher.weight(args.bias), factors, n: n as u32 };
    let grid = Grid { blocks: [m as u32, blocks(n, 2048), 1], threads: 256, shared_bytes: 0 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&Kernel { source: &SOURCE, entry: "finish", constants: &[] }, grid, &finish) }
}
