//! `matmul` on CUDA devices with weights in [`tiles`](crate::tiles) and int8 activations: what the technique `marlin`
//! switches on. Products of integers are exact; what differs from the reference is the order of the f32 sums, and for
//! many rows the rounding to halves.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Queue, Source};

use gguf::DType;

use super::cuda_half::Activations;
use super::{Args, Desc, Input, Matmul, cuda_half, cuda_wide};
use crate::cuda::{BLOCKS, Launcher, PRELUDE, TILES, blocks, type_constant};
use crate::op::Rows;
use crate::ops::quantize;
use crate::ops::quantize::cuda::HALVES;
use crate::packed::Form;
use crate::tiles::{CHUNK, GROUPS, TILE, Tiling};
use crate::variant::{Exactness, Launch, Variant};

/// Any number of rows.
pub const DOT: Variant<Matmul> = Variant {
    id: "matmul/tiles/cuda-dot",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 64 },
    accepts: |desc| desc.form == Form::Tiles && desc.input == Input::Q8,
    launch: Launch::Cuda(dot),
};

/// The same as long as it is the faster; for more rows weights and activations become halves, as in [`cuda_half::HALF`].
pub const MANY: Variant<Matmul> = Variant {
    id: "matmul/tiles/cuda-blas",
    needs: &[Feature::Cuda, Feature::CublasLt],
    exactness: cuda_half::HALF.exactness,
    accepts: |desc| (DOT.accepts)(desc) && desc.rows == Rows::Many,
    launch: Launch::Cuda(many),
};

pub(super) const FRAGMENT: &str = include_str!("tiles/fragment.cu");
pub(super) const RING: &str = include_str!("tiles/ring.cu");
const ONE: Source =
    Source { name: "matmul_one", parts: &[PRELUDE, BLOCKS, TILES, FRAGMENT, RING, include_str!("tiles/one.cu")] };
const MID: Source =
    Source { name: "matmul_mid", parts: &[PRELUDE, BLOCKS, TILES, FRAGMENT, RING, include_str!("tiles/mid.cu")] };
const WEIGHTS: Source =
    Source { name: "tiles_half", parts: &[PRELUDE, BLOCKS, TILES, FRAGMENT, include_str!("tiles/halves.cu")] };
const X: Source = Source { name: "q8_half", parts: &[PRELUDE, HALVES, include_str!("tiles/x_halves.cu")] };

/// Warps of a block.
const WARPS: usize = 8;
/// Threads of a block.
const THREADS: usize = 32 * WARPS;
/// Chunks that a ring has on the way at most.
const STAGES: usize = 4;
/// Shared memory that a block of [`One`] may take, so that two of them find room on every architecture but the smallest.
const ONE_SHARED_BYTES: usize = 99 << 10;
/// Shared memory that the system keeps of every block.
const RESERVED_BYTES: usize = 2 << 10;
/// Most rows for which integer products are faster than halves, whose weights have to be made first.
const MOST_ROWS: usize = 128;

/// Has a queue that rehearses compile the kernels for weights of a type, in shapes that models of 1 to 70 thousand
/// million weights have: how a kernel divides its work, and so its constants, come from the shape.
pub(crate) fn compile_tiles(launcher: &Launcher<'_>, weight: DType) -> Vec<Result<(), CudaError>> {
    const SHAPES: [(usize, usize); 4] = [(2048, 2048), (4096, 4096), (28672, 8192), (8192, 28672)];
    let ways = SHAPES.iter().flat_map(|&shape| Rows::ALL.map(|rows| (shape, rows)));
    let compile = |((n, k), rows)| {
        let row_bytes = k / weight.block_len() * weight.block_bytes();
        let desc = Desc { weight, form: Form::Tiles, input: Input::Q8, n, k, row_bytes, bias: false, rows };
        let (weight, bias, x) = (std::ptr::null(), std::ptr::null(), std::ptr::null());
        let args = Args { weight, bias, x, out: std::ptr::null_mut(), num_rows: MOST_ROWS + 1 };
        // SAFETY: a queue that rehearses follows no address.
        unsafe { if rows == Rows::Many { many(&desc, &args, launcher) } else { dot(&desc, &args, launcher) } }
    };
    let wide = |(n, k)| cuda_wide::compile(launcher, weight, n, k);
    let wide = SHAPES.into_iter().map(wide).take(if launcher.queue.has_wgmma() { SHAPES.len() } else { 0 });
    ways.map(compile).chain(wide).collect()
}

unsafe fn dot(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    if launcher.queue.is_rehearsing() {
        // A kernel for each number of rows that a step of this plan may have.
        let kernels: &[usize] = match desc.rows {
            Rows::One => &[1],
            Rows::Few => &[2, 4, 8],
            Rows::Many => &[8, 16, 32, 64, 128],
        };
        return kernels.iter().try_for_each(|&num_rows| {
            // SAFETY: the caller's promise, of no rows at all.
            unsafe { rows(desc, &Args { num_rows, ..*args }, launcher) }
        });
    }
    let mut first = 0;
    while first < args.num_rows {
        let left = args.num_rows - first;
        let num_rows = left.min(MOST_ROWS);
        let part = Args {
            x: args.x.wrapping_add(first * quantize::row_bytes(desc.k)),
            out: args.out.wrapping_add(first * desc.n),
            num_rows,
            ..*args
        };
        // SAFETY: the caller's promise.
        unsafe { rows(desc, &part, launcher) }?;
        first += num_rows;
    }
    Ok(())
}

/// At most [`MOST_ROWS`].
unsafe fn rows(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    // SAFETY: the caller's promise.
    unsafe {
        match One::of(desc, args.num_rows, launcher.queue.num_sms()) {
            Some(one) => one.launch(desc, args, launcher),
            None => Mid::of(desc, args.num_rows, launcher.queue).launch(desc, args, launcher),
        }
    }
}

/// How the kernels for a few rows divide the work: a lane multiplies a row of weights, and all of x lies in shared memory.
struct One {
    /// Rows of x that the kernel is made for.
    rows: usize,
    /// Warps that share a tile.
    split: usize,
    /// Chunks that a warp's ring has room for.
    stages: usize,
    shared_bytes: usize,
}

/// `Args` of `one.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct OneArgs {
    tiles: *const u8,
    bias: *const f32,
    x: *const u8,
    out: *mut f32,
    x_row_bytes: u64,
    n: u32,
    k: u32,
    num_rows: u32,
    split: u32,
}

impl One {
    /// `None` for more rows than these kernels are good for, or where x leaves no room for weights.
    fn of(desc: &Desc, num_rows: usize, num_sms: u32) -> Option<Self> {
        let rows = match num_rows {
            0..=4 => num_rows.max(1).next_power_of_two(),
            _ => return None,
        };
        // Enough blocks that every multiprocessor has work, but no more partial sums than that takes.
        let tiles = desc.n.div_ceil(TILE);
        let enough = |split: &usize| 2 * tiles * split / WARPS >= 3 * num_sms as usize;
        let split = [1, 2, 4].into_iter().find(enough).unwrap_or(WARPS);
        let ring_bytes = WARPS * Tiling::of(desc.weight)?.chunk_bytes();
        let x_bytes = rows * quantize::row_bytes(desc.k);
        let wanted = desc.k.div_ceil(CHUNK).div_ceil(split).min(STAGES);
        let stages = (ONE_SHARED_BYTES.checked_sub(x_bytes)? / ring_bytes).min(wanted);
        let shared_bytes = stages * ring_bytes + x_bytes;
        (stages >= wanted.min(2)).then_some(Self { rows, split, stages, shared_bytes })
    }

    unsafe fn launch(&self, desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
        let device_args = OneArgs {
            tiles: launcher.weight(args.weight),
            bias: launcher.weight(args.bias),
            x: args.x,
            out: args.out,
            x_row_bytes: quantize::row_bytes(desc.k) as u64,
            n: desc.n as u32,
            k: desc.k as u32,
            num_rows: args.num_rows as u32,
            split: self.split as u32,
        };
        let constants = [type_constant(desc.weight), ("STAGES", self.stages as i64), ("ROWS", self.rows as i64)];
        let kernel = Kernel { source: &ONE, entry: "matmul_one", constants: &constants };
        let blocks = [blocks(desc.n.div_ceil(TILE), WARPS / self.split), 1, 1];
        let grid = Grid { blocks, threads: THREADS as u32, shared_bytes: self.shared_bytes as u32 };
        // SAFETY: the caller's promise; the struct is that of the source.
        unsafe { launcher.launch(&kernel, grid, &device_args) }
    }
}

/// How the kernels for more rows divide the work: blocks share all chunks evenly, 128 rows of weights at a time.
struct Mid {
    /// Rows of x that a block computes.
    columns: usize,
    stages: usize,
    shared_bytes: usize,
    num_blocks: usize,
    /// Parts of the rows of x.
    num_parts: usize,
    /// Bytes of what a block may leave to be added up.
    part_bytes: usize,
}

/// `Args` of `mid.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MidArgs {
    tiles: *const u8,
    bias: *const f32,
    x: *const u8,
    out: *mut f32,
    parts: *mut f32,
    arrivals: *mut u32,
    x_row_bytes: u64,
    n: u32,
    k: u32,
    num_rows: u32,
}

impl Mid {
    /// The kernel for the fewest rows that does them at once, or else for the most that leave room for two stages.
    fn of(desc: &Desc, num_rows: usize, queue: &Queue) -> Self {
        const KERNELS: [usize; 5] = [8, 16, 32, 64, 128];
        let of = |&columns: &usize| Self::with(columns, desc, num_rows, queue);
        let enough = KERNELS.iter().position(|&columns| columns >= num_rows).unwrap_or(KERNELS.len() - 1);
        let fits = |mid: &Self| mid.shared_bytes <= queue.shared_bytes();
        KERNELS[..=enough].iter().rev().map(of).find(fits).unwrap_or_else(|| of(&KERNELS[0]))
    }

    fn with(columns: usize, desc: &Desc, num_rows: usize, queue: &Queue) -> Self {
        let chunk_bytes = Tiling::of(desc.weight).map_or(0, |tiling| tiling.chunk_bytes());
        // `X_STRIDE` and the factors of `mid.cu`.
        let x_stride = if desc.weight.group_len() == 16 { 272 } else { 288 };
        let factor_bytes = (columns + 4) * 2 * 2 * GROUPS * size_of::<f32>();
        let stage_bytes = WARPS * chunk_bytes + columns * x_stride;
        let per_sm = if columns <= 32 { 2 } else { 1 };
        let room = (queue.shared_bytes() / per_sm).saturating_sub(factor_bytes + RESERVED_BYTES);
        let stages = (room / stage_bytes).clamp(2, STAGES);
        let units = desc.n.div_ceil(WARPS * TILE) * desc.k.div_ceil(CHUNK);
        Self {
            columns,
            stages,
            shared_bytes: stages * stage_bytes + factor_bytes,
            num_blocks: (per_sm * queue.num_sms() as usize).min(units),
            num_parts: num_rows.div_ceil(columns),
            part_bytes: 2 * WARPS * TILE * columns * size_of::<f32>(),
        }
    }

    unsafe fn launch(&self, desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
        let arrivals = self.num_parts * desc.n.div_ceil(WARPS * TILE);
        let device_args = MidArgs {
            tiles: launcher.weight(args.weight),
            bias: launcher.weight(args.bias),
            x: args.x,
            out: args.out,
            parts: launcher.queue.scratch(self.num_parts * self.num_blocks * self.part_bytes)?.cast(),
            arrivals: launcher.queue.counters(arrivals)?,
            x_row_bytes: quantize::row_bytes(desc.k) as u64,
            n: desc.n as u32,
            k: desc.k as u32,
            num_rows: args.num_rows as u32,
        };
        let constants = [type_constant(desc.weight), ("STAGES", self.stages as i64), ("ROWS", self.columns as i64)];
        let kernel = Kernel { source: &MID, entry: "matmul_mid", constants: &constants };
        let blocks = [self.num_blocks as u32, self.num_parts as u32, 1];
        let grid = Grid { blocks, threads: THREADS as u32, shared_bytes: self.shared_bytes as u32 };
        // SAFETY: the caller's promise; the struct is that of the source; scratch and zeros are as large as it uses them.
        unsafe { launcher.launch(&kernel, grid, &device_args) }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct WeightArgs {
    tiles: *const u8,
    out: *mut u16,
    n: u32,
    k: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct XArgs {
    x: *const u8,
    out: *mut u16,
    factors: *mut f32,
    x_row_bytes: u64,
    k: u32,
}

unsafe fn many(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let (m, k) = (args.num_rows, desc.k);
    if launcher.queue.is_rehearsing() {
        // SAFETY: the caller's promise.
        unsafe { dot(desc, args, launcher) }?;
    }
    if m <= MOST_ROWS {
        // SAFETY: the caller's promise.
        return unsafe { dot(desc, args, launcher) };
    }
    let tiles: *const u8 = launcher.weight(args.weight);
    let x_halves = |out, factors| {
        let device_args = XArgs { x: args.x, out, factors, x_row_bytes: quantize::row_bytes(k) as u64, k: k as u32 };
        let kernel = Kernel { source: &X, entry: "x_to_half", constants: &[] };
        // SAFETY: the caller's promise, and that of `product`; the struct is that of the source.
        unsafe { launcher.launch(&kernel, Grid::row(m as u32, 256), &device_args) }
    };
    let weight_halves = |first, rows, out| weight_halves(desc, tiles, launcher, false, [first, rows], out);
    // SAFETY: the caller's promise; the closures write what they are asked for.
    unsafe { cuda_half::product(desc, args, launcher, Activations::Made(&x_halves), weight_halves) }
}

/// Has some rows of weights written as halves: `tiles` from row `first` on, whole tiles, `rows` of them. In the order that
/// activations as halves have where `in_order` says so.
pub(super) fn weight_halves(
    desc: &Desc,
    tiles: *const u8,
    launcher: &Launcher<'_>,
    in_order: bool,
    [first, rows]: [usize; 2],
    out: *mut u16,
) -> Result<(), CudaError> {
    let tiles = tiles.wrapping_add(Tiling::of(desc.weight).map_or(0, |tiling| tiling.bytes(first, desc.k)));
    let constants = [type_constant(desc.weight), ("IN_ORDER", i64::from(in_order))];
    let kernel = Kernel { source: &WEIGHTS, entry: "weights_to_half", constants: &constants };
    let grid = Grid::row(blocks(rows.div_ceil(TILE) * desc.k.div_ceil(CHUNK), WARPS), THREADS as u32);
    // SAFETY: `cuda_half::product` has room for what it asks for, and the plan for the weights; the struct is the source's.
    unsafe { launcher.launch(&kernel, grid, &WeightArgs { tiles, out, n: rows as u32, k: desc.k as u32 }) }
}
