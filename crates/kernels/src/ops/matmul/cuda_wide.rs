//! `matmul` on CUDA devices of compute capability 9.0 with weights in [`tiles`](crate::tiles) and activations that are
//! halves: what the technique `marlin` chooses there for many rows. Weights become halves in registers on their way from
//! memory to tensor cores (`wgmma`), for hundreds of rows by [`cuda_many`]; for very many they are made once, and cuBLASLt
//! multiplies.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Queue, Source};
use gguf::DType;

use super::cuda_crossover::most_rows;
use super::cuda_half::{self, Activations};
use super::cuda_tiles::{FRAGMENT, RING, weight_halves};
use super::{Args, Desc, Input, Matmul, cuda_many};
use crate::cuda::{BLOCKS, Launcher, PRELUDE, TILES, type_constant};
use crate::launch::{Frame, Step};
use crate::op::{Op, Rows};
use crate::packed::Form;
use crate::tiles::{CHUNK, GROUPS, TILE, Tiling};
use crate::variant::{Launch, Variant};

/// Many rows. Weights are rounded to halves, as in [`cuda_half::HALF`].
pub const WIDE: Variant<Matmul> = Variant {
    id: "matmul/tiles/cuda-wgmma",
    needs: &[Feature::Cuda, Feature::Wgmma],
    exactness: cuda_half::HALF.exactness,
    accepts: |desc| desc.form == Form::Tiles && desc.input == Input::Half && desc.rows == Rows::Many,
    launch: Launch::Cuda(launch),
};

pub(super) const SOURCE: Source = Source {
    name: "matmul_wide",
    parts: &[PRELUDE, BLOCKS, TILES, FRAGMENT, RING, include_str!("tiles/wgmma.cu"), include_str!("tiles/wide.cu")],
};

/// Most matrices that one kernel multiplies x with.
pub(super) const MOST_MATRICES: usize = 3;
/// Rows of x that there are kernels for.
const ROWS: [usize; 4] = [16, 32, 64, 128];
/// Most blocks that share the columns, as a cluster.
const MOST_SPLIT: usize = 8;
/// Shared memory that the system keeps of every block.
const RESERVED_BYTES: usize = 2 << 10;

/// Has a queue that rehearses compile the kernels for weights of a type.
pub(super) fn compile(launcher: &Launcher<'_>, weight: DType, n: usize, k: usize) -> Result<(), CudaError> {
    let row_bytes = k / weight.block_len() * weight.block_bytes();
    let (form, input, bias, rows) = (Form::Tiles, Input::Half, false, Rows::Many);
    let desc = Desc { weight, form, input, n, k, row_bytes, bias, rows };
    let args = Args {
        weight: std::ptr::null(),
        bias: std::ptr::null(),
        x: std::ptr::null(),
        out: std::ptr::null_mut(),
        num_rows: ROWS[ROWS.len() - 1],
    };
    // SAFETY: a queue that rehearses follows no address.
    unsafe { launch(&desc, &args, launcher) }
}

unsafe fn launch(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let queue = launcher.queue;
    let anew = args.num_rows <= most_rows(queue) || queue.blas().is_err();
    if anew || queue.is_rehearsing() {
        // SAFETY: the caller's promise.
        unsafe { multiply(&[(desc, args)], launcher) }?;
    }
    if anew && !queue.is_rehearsing() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { multiply_halves(desc, args, launcher) }
}

/// The product by way of weights that are halves in memory.
pub(super) unsafe fn multiply_halves(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let tiles: *const u8 = launcher.weight(args.weight);
    let x = Activations::Given(args.x.cast(), factors(desc, args));
    let weight_halves = |first, rows, out| weight_halves(desc, tiles, launcher, true, [first, rows], out);
    // SAFETY: the caller's promise; the closure writes what it is asked for.
    unsafe { cuda_half::product(desc, args, launcher, x, weight_halves) }
}

/// Products of one x that are computed as one: how many of the first of `steps`, which are none or more than one.
pub(crate) fn together<'a>(steps: impl Iterator<Item = &'a Step<Matmul>>, frame: &Frame, queue: &Queue) -> usize {
    let mut steps = steps.take(MOST_MATRICES).take_while(|step| step.variant.id == WIDE.id);
    let Some(first) = steps.next() else { return 0 };
    let alike = |other: &&Step<Matmul>| {
        let (a, b) = (&first.desc, &other.desc);
        (a.weight, a.k, first.slots.x, first.slots.rows) == (b.weight, b.k, other.slots.x, other.slots.rows)
    };
    let more = steps.take_while(alike).count();
    let few = queue.is_rehearsing() || frame.rows(first.slots.rows) <= most_rows(queue);
    if more > 0 && few { 1 + more } else { 0 }
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
    if launcher.queue.is_rehearsing() {
        for (step, args) in steps.iter().zip(&args) {
            // SAFETY: the caller's promise.
            unsafe { launch(&step.desc, args, launcher) }?;
        }
    }
    let products: Vec<(&Desc, &Args)> = steps.iter().map(|step| &step.desc).zip(&args).collect();
    // SAFETY: the caller's promise.
    unsafe { multiply(&products, launcher) }
}

/// Products of one x, at most [`MOST_MATRICES`], by one kernel.
pub(super) unsafe fn multiply(products: &[(&Desc, &Args)], launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let Some((_, Args { num_rows, .. })) = products.first() else { return Ok(()) };
    let queue = launcher.queue;
    let many = cuda_many::pays(products, queue);
    if many || queue.is_rehearsing() {
        // SAFETY: the caller's promise.
        unsafe { cuda_many::multiply(products, launcher) }?;
    }
    // A queue that rehearses has a kernel for each number of rows that a step may have.
    let rows = if queue.is_rehearsing() {
        &ROWS
    } else if many {
        &[][..]
    } else {
        std::slice::from_ref(num_rows)
    };
    rows.iter().try_for_each(|&num_rows| {
        // SAFETY: the caller's promise.
        unsafe { Wide::of(products, num_rows, queue).launch(products, launcher) }
    })
}

/// What the results of each row are to be multiplied with: they stand behind the halves of all rows.
pub(super) fn factors(desc: &Desc, args: &Args) -> *const f32 {
    args.x.wrapping_add(2 * desc.k * args.num_rows).cast()
}

/// How a kernel divides the work.
#[derive(Clone, Copy, Debug)]
struct Wide {
    /// Rows of x that a block computes.
    rows: usize,
    /// Warps of a block, each of which has room for a tile.
    warps: usize,
    /// Blocks that a multiprocessor has room for.
    per_sm: usize,
    /// Pairs of groups of x that are copied at one time.
    pairs: usize,
    /// Tiles of a band.
    height: usize,
    /// Blocks that share the columns.
    split: usize,
    x_stages: usize,
    w_stages: usize,
    shared_bytes: usize,
    num_parts: usize,
}

/// `Matrix` of `wide.cu` and `many.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    tiles: *const u8,
    bias: *const f32,
    out: *mut f32,
    n: u32,
    first_band: u32,
}

impl Matrix {
    const NONE: Self = {
        let (tiles, bias, out) = (std::ptr::null(), std::ptr::null(), std::ptr::null_mut());
        Self { tiles, bias, out, n: 0, first_band: u32::MAX }
    };

    /// Of all products, in bands of `height` tiles.
    pub(super) fn all(products: &[(&Desc, &Args)], height: usize, launcher: &Launcher<'_>) -> [Self; MOST_MATRICES] {
        let mut matrices = [Self::NONE; MOST_MATRICES];
        for (i, (matrix, (desc, args))) in matrices.iter_mut().zip(products).enumerate() {
            *matrix = Self {
                tiles: launcher.weight(args.weight),
                bias: launcher.weight(args.bias),
                out: args.out,
                n: desc.n as u32,
                first_band: num_bands(&products[..i], height) as u32,
            };
        }
        matrices
    }
}

/// `Args` of `wide.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    matrices: [Matrix; MOST_MATRICES],
    x: *const u8,
    factors: *const f32,
    k: u32,
    num_rows: u32,
    height: u32,
    num_parts: u32,
}

impl Wide {
    /// The division that should take the least time.
    fn of(products: &[(&Desc, &Args)], num_rows: usize, queue: &Queue) -> Self {
        let (weight, k) = products.first().map_or((DType::Q8_0, CHUNK), |(desc, _)| (desc.weight, desc.k));
        let rows = ROWS.into_iter().find(|&rows| rows >= num_rows).unwrap_or(ROWS[ROWS.len() - 1]);
        let (num_parts, chunks) = (num_rows.div_ceil(rows), k.div_ceil(CHUNK));
        // Two blocks hide each other's waits; with more rows both would ask the second cache for too much of x.
        let (warps, per_sm) = if rows <= 32 { (8, 2) } else { (16, 1) };
        // Clusters are not emulated.
        let most_split = if queue.is_emulated() { 1 } else { MOST_SPLIT.min(chunks) };
        let time_height_split = |split: usize| {
            let room = queue.clusters(split, per_sm).max(1);
            let waves = (num_bands(products, warps) * num_parts).div_ceil(room);
            let fits = |&height: &usize| num_bands(products, height) * num_parts <= room * waves;
            // As high as it takes to have room, so that no multiprocessor is without work.
            let height = (1..=warps).find(fits).unwrap_or(warps);
            // Tenths of what a block with all its tiles takes for a chunk: what does not depend on their number, sums of
            // other blocks, and beginning and end.
            let chunk = 8 * warps + 2 * height;
            (waves * (chunks.div_ceil(split) * chunk + (10 + split) * warps), height, split)
        };
        let (_, height, split) = (1..=most_split).map(time_height_split).min().unwrap_or((0, warps, 1));
        Self { warps, per_sm, height, split, num_parts, ..Self::stages(weight, rows, warps, per_sm, split, queue) }
    }

    /// As many stages as there is room for.
    fn stages(weight: DType, rows: usize, warps: usize, per_sm: usize, split: usize, queue: &Queue) -> Self {
        let chunk_bytes = Tiling::of(weight).map_or(0, |tiling| tiling.chunk_bytes());
        let (w_bytes, table_bytes) = (warps * chunk_bytes, warps * table_bytes(weight));
        let room = (queue.shared_bytes() / per_sm).saturating_sub(RESERVED_BYTES + table_bytes);
        let fits = |(least, pairs, w_stages): (usize, usize, usize)| {
            let x_bytes = pairs * 128 * rows;
            let x_stages = (room.saturating_sub(w_stages * w_bytes) / x_bytes).min(2 + 4 / pairs);
            let shared_bytes = x_stages * x_bytes + w_stages * w_bytes + table_bytes;
            (x_stages >= least).then_some((pairs, x_stages, w_stages, shared_bytes))
        };
        let most_pairs = if rows == 128 { 2 } else { 4 };
        // Stages of x at least: better three; more than `SETS` of `wide.cu`.
        let least = if rows == 64 { &[3][..] } else { &[3, 2] };
        let ways = least.iter().flat_map(|&least| [4, 2, 1].map(|pairs| (least, pairs)));
        let ways = ways.filter(|&(_, pairs)| pairs <= most_pairs);
        let mut ways = ways.flat_map(|(least, pairs)| [4, 3, 2].map(|w_stages| (least, pairs, w_stages)));
        let (pairs, x_stages, w_stages, shared_bytes) = ways.find_map(fits).unwrap_or((1, 3, 2, room));
        let parts_bytes = if split > 1 { warps * TILE * rows * size_of::<f32>() } else { 0 };
        let shared_bytes = shared_bytes.max(parts_bytes);
        Self { rows, warps, per_sm, pairs, height: warps, split, x_stages, w_stages, shared_bytes, num_parts: 1 }
    }

    unsafe fn launch(&self, products: &[(&Desc, &Args)], launcher: &Launcher<'_>) -> Result<(), CudaError> {
        let Some(&(desc, args)) = products.first() else { return Ok(()) };
        let device_args = DeviceArgs {
            matrices: Matrix::all(products, self.height, launcher),
            x: args.x,
            factors: factors(desc, args),
            k: desc.k as u32,
            num_rows: args.num_rows as u32,
            height: self.height as u32,
            num_parts: self.num_parts as u32,
        };
        let constants = [
            type_constant(desc.weight),
            ("ROWS", self.rows as i64),
            ("WARPS", self.warps as i64),
            ("PER_SM", self.per_sm as i64),
            ("PAIRS", self.pairs as i64),
            ("SPLIT", self.split as i64),
            ("X_STAGES", self.x_stages as i64),
            ("W_STAGES", self.w_stages as i64),
        ];
        let kernel = Kernel { source: &SOURCE, entry: "matmul_wide", constants: &constants };
        let blocks = [(num_bands(products, self.height) * self.num_parts * self.split) as u32, 1, 1];
        let grid = Grid { blocks, threads: 32 * self.warps as u32, shared_bytes: self.shared_bytes as u32 };
        // SAFETY: the caller's promise; the struct is that of the source.
        unsafe { launcher.launch(&kernel, grid, &device_args) }
    }
}

/// Bands of `height` tiles of all matrices.
pub(super) fn num_bands(products: &[(&Desc, &Args)], height: usize) -> usize {
    products.iter().map(|(desc, _)| desc.n.div_ceil(TILE * height)).sum()
}

/// Bytes of the decoded scales of a warp, `SCALE_TABLE_BYTES`: none where they are halves as they lie in a chunk.
pub(super) const fn table_bytes(weight: DType) -> usize {
    match weight {
        DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL => 0,
        _ => GROUPS * 8 * 16,
    }
}
