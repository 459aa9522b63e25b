//! `matmul` on CUDA devices for few rows and weights of 16-bit floats: as fast as they can be read.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};
use gguf::DType;

use super::{Args, Desc, Input, Matmul};
use crate::cuda::{BLOCKS, Launcher, PRELUDE, blocks, type_constant};
use crate::launch::{Frame, Step};
use crate::op::{Op, Rows};
use crate::packed::Form;
use crate::variant::{Exactness, Launch, Variant};

/// Rows of 16-byte pieces.
pub const FLOAT: Variant<Matmul> = Variant {
    id: "matmul/f16/cuda-rows",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 64 },
    accepts: |desc| {
        let float = matches!(desc.weight, DType::F16 | DType::BF16);
        float
            && desc.input == Input::F32
            && desc.form == Form::Rows
            && desc.rows != Rows::Many
            && desc.k.is_multiple_of(8)
    },
    launch: Launch::Cuda(float),
};

const SOURCE: Source = Source { name: "matmul_float", parts: &[PRELUDE, BLOCKS, include_str!("cuda_float.cu")] };

/// Warps of a block.
const WARPS: usize = 8;
/// Rows of weights that a warp computes, or the warps that share them.
const ROWS: usize = 2;
/// Pieces of eight columns that a warp has on the way of a row: less is not worth a share.
const LEAST_PIECES: usize = 256;
/// Blocks for each multiprocessor that keep it busy, other blocks beginning and ending.
const BLOCKS_PER_SM: u32 = 4;
/// Most matrices that one kernel multiplies x with.
const MOST_MATRICES: usize = 3;

/// `Matrix` of `cuda_float.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Matrix {
    weight: *const u8,
    bias: *const f32,
    out: *mut f32,
    n: u32,
    first_block: u32,
}

/// `Args` of `cuda_float.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    matrices: [Matrix; MOST_MATRICES],
    x: *const f32,
    row_bytes: u64,
    k: u32,
    num_rows: u32,
    split: u32,
    share_pieces: u32,
}

unsafe fn float(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    // SAFETY: the caller's promise.
    unsafe { multiply(&[(desc, args)], launcher) }
}

/// Products of one x that are computed as one: how many of the first of `steps`, which are none or more than one.
pub(crate) fn together<'a>(steps: impl Iterator<Item = &'a Step<Matmul>>) -> usize {
    let mut steps = steps.take(MOST_MATRICES).take_while(|step| step.variant.id == FLOAT.id);
    let Some(first) = steps.next() else { return 0 };
    let key = |step: &Step<Matmul>| (step.desc.weight, step.desc.k, step.desc.row_bytes, step.slots.x, step.slots.rows);
    match steps.take_while(|other| key(other) == key(first)).count() {
        0 => 0,
        more => 1 + more,
    }
}

/// Enqueues what [`together`] found.
///
/// # Safety
/// As for a variant's launch.
pub(crate) unsafe fn enqueue_together(
    steps: &[&Step<Matmul>],
    frame: &Frame,
    launcher: &Launcher<'_>,
) -> Result<(), CudaError> {
    let args: Vec<Args> = steps.iter().map(|step| Matmul::bind(&step.desc, &step.slots, frame)).collect();
    let products: Vec<(&Desc, &Args)> = steps.iter().map(|step| &step.desc).zip(&args).collect();
    // SAFETY: the caller's promise.
    unsafe { multiply(&products, launcher) }
}

/// Products of one x, at most [`MOST_MATRICES`], by one kernel.
unsafe fn multiply(products: &[(&Desc, &Args)], launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let Some(&(desc, args)) = products.first() else { return Ok(()) };
    let pieces = desc.k / 8;
    let num_blocks = |split: u32| products.iter().map(|(desc, _)| blocks(desc.n, (WARPS * ROWS) >> split)).sum::<u32>();
    let pays = |&split: &u32| {
        pieces >> split >= LEAST_PIECES && num_blocks(split - 1) < BLOCKS_PER_SM * launcher.queue.num_sms()
    };
    let split = (1..=WARPS.ilog2()).take_while(pays).count() as u32;
    let nothing = (std::ptr::null(), std::ptr::null(), std::ptr::null_mut());
    let nothing = Matrix { weight: nothing.0, bias: nothing.1, out: nothing.2, n: 0, first_block: u32::MAX };
    let (mut matrices, mut first_block) = ([nothing; MOST_MATRICES], 0);
    for (matrix, (desc, args)) in matrices.iter_mut().zip(products) {
        let (weight, bias) = (launcher.weight(args.weight), launcher.weight(args.bias));
        *matrix = Matrix { weight, bias, out: args.out, n: desc.n as u32, first_block };
        first_block += blocks(desc.n, (WARPS * ROWS) >> split);
    }
    let (row_bytes, k, num_rows) = (desc.row_bytes as u64, desc.k as u32, args.num_rows as u32);
    let share_pieces = pieces.div_ceil(1 << split).next_multiple_of(32) as u32;
    let device_args = DeviceArgs { matrices, x: args.x.cast(), row_bytes, k, num_rows, split, share_pieces };
    let (entry, rows) = match args.num_rows {
        0 | 1 => ("float_1", 1),
        2 => ("float_2", 2),
        _ => ("float_4", 4),
    };
    let kernel = Kernel { source: &SOURCE, entry, constants: &[type_constant(desc.weight)] };
    let blocks = [first_block, blocks(args.num_rows, rows), 1];
    let grid = Grid { blocks, threads: 32 * WARPS as u32, shared_bytes: 0 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid, &device_args) }
}
