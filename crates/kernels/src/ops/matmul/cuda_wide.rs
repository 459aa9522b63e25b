//! `matmul` on CUDA devices of compute capability 9.0 with weights in [`tiles`](crate::tiles) and activations that are
//! halves: what the technique `marlin` chooses there for many rows. Weights become halves in registers on their way from
//! memory to tensor cores (`wgmma`); for very many rows they are made once, and cuBLASLt multiplies.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Queue, Source};
use gguf::DType;

use super::cuda_half::{self, Activations};
use super::cuda_tiles::{FRAGMENT, RING, weight_halves};
use super::{Args, Desc, Input, Matmul};
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

const SOURCE: Source = Source {
    name: "matmul_wide",
    parts: &[PRELUDE, BLOCKS, TILES, FRAGMENT, RING, include_str!("tiles/wgmma.cu"), include_str!("tiles/wide.cu")],
};

/// Most matrices that one kernel multiplies x with.
const MOST_MATRICES: usize = 3;
/// Warps of a block, a tile of weights each: one such block or two on a multiprocessor.
const WARPS: [usize; 2] = [16, 8];
/// Rows of x that there are kernels for.
const ROWS: [usize; 4] = [16, 32, 64, 128];
/// Most rows for which it pays to make halves of the weights anew for each 128 of them.
const MOST_ROWS: usize = 256;
/// How many blocks share the columns, as a cluster, and how many such clusters of large blocks find room at one time: those
/// of a cluster are neighbours on the device, which has eight neighbourhoods of 14 to 18 multiprocessors. Measured: with
/// more of them some came later.
const CLUSTERS: [(usize, usize); 8] = [(1, usize::MAX), (2, 62), (3, 36), (4, 28), (5, 20), (6, 16), (7, 16), (8, 12)];
/// Bytes of the decoded scales of a warp, `SCALE_TABLE_BYTES`.
const TABLE_BYTES: usize = GROUPS * 8 * 16;
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
        num_rows: MOST_ROWS + 1,
    };
    // SAFETY: a queue that rehearses follows no address.
    unsafe { launch(&desc, &args, launcher) }
}

unsafe fn launch(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let (queue, m) = (launcher.queue, args.num_rows);
    if queue.is_rehearsing() || m <= MOST_ROWS || queue.blas().is_err() {
        // SAFETY: the caller's promise.
        unsafe { multiply(&[(desc, args)], launcher) }?;
    }
    if m <= MOST_ROWS || queue.blas().is_err() {
        return Ok(());
    }
    let tiles: *const u8 = launcher.weight(args.weight);
    let x = Activations::Given(args.x.cast(), factors(desc, args));
    let weight_halves = |first, rows, out| weight_halves(desc, tiles, launcher, true, [first, rows], out);
    // SAFETY: the caller's promise; the closure writes what it is asked for.
    unsafe { cuda_half::product(desc, args, launcher, x, weight_halves) }
}

/// Products of one x that are computed as one: how many of the first of `steps`, which are none or more than one.
pub(crate) fn together<'a>(steps: impl Iterator<Item = &'a Step<Matmul>>, frame: &Frame, rehearsing: bool) -> usize {
    let mut steps = steps.take(MOST_MATRICES).take_while(|step| step.variant.id == WIDE.id);
    let Some(first) = steps.next() else { return 0 };
    let alike = |other: &&Step<Matmul>| {
        let (a, b) = (&first.desc, &other.desc);
        (a.weight, a.k, first.slots.x, first.slots.rows) == (b.weight, b.k, other.slots.x, other.slots.rows)
    };
    let more = steps.take_while(alike).count();
    let few = rehearsing || frame.rows(first.slots.rows) <= MOST_ROWS;
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
unsafe fn multiply(products: &[(&Desc, &Args)], launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let Some((_, Args { num_rows, .. })) = products.first() else { return Ok(()) };
    if !launcher.queue.is_rehearsing() {
        // SAFETY: the caller's promise.
        return unsafe { Wide::of(products, *num_rows, launcher.queue).launch(products, launcher) };
    }
    // A kernel for each number of rows that a step may have.
    ROWS.iter().try_for_each(|&num_rows| {
        // SAFETY: the caller's promise; nothing runs.
        unsafe { Wide::of(products, num_rows, launcher.queue).launch(products, launcher) }
    })
}

/// What the results of each row are to be multiplied with: they stand behind the halves of all rows.
fn factors(desc: &Desc, args: &Args) -> *const f32 {
    args.x.wrapping_add(2 * desc.k * args.num_rows).cast()
}

/// How a kernel divides the work.
#[derive(Clone, Copy, Debug)]
struct Wide {
    /// Rows of x that a block computes.
    rows: usize,
    warps: usize,
    /// Blocks that a multiprocessor has room for.
    per_sm: usize,
    /// Blocks that share the columns.
    split: usize,
    x_stages: usize,
    w_stages: usize,
    shared_bytes: usize,
    num_parts: usize,
}

/// `Matrix` of `wide.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Matrix {
    tiles: *const u8,
    bias: *const f32,
    out: *mut f32,
    n: u32,
    first_band: u32,
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
    num_parts: u32,
}

impl Wide {
    /// The division that should take the least time.
    fn of(products: &[(&Desc, &Args)], num_rows: usize, queue: &Queue) -> Self {
        let (weight, k) = products.first().map_or((DType::Q8_0, CHUNK), |(desc, _)| (desc.weight, desc.k));
        let rows = ROWS.into_iter().find(|&rows| rows >= num_rows).unwrap_or(ROWS[ROWS.len() - 1]);
        let num_parts = num_rows.div_ceil(rows);
        let (chunks, num_sms) = (k.div_ceil(CHUNK), queue.num_sms() as usize);
        // Clusters are not emulated.
        let clusters = if queue.is_emulated() { &CLUSTERS[..1] } else { &CLUSTERS };
        let ways = WARPS.into_iter().flat_map(|warps| clusters.iter().map(move |&(split, room)| (warps, split, room)));
        let time = |&(warps, split, room): &(usize, usize, usize)| {
            let num_clusters = num_bands(products, warps) * num_parts;
            let waves = num_clusters.div_ceil(room.min(num_sms) * 16 / warps);
            // Tenths of what a large block takes for a chunk; two small ones share a multiprocessor, unless one has it alone.
            let chunk = match (warps, num_clusters * split <= num_sms) {
                (8, true) if split == 1 => 7,
                (8, true) => 9,
                _ => 10,
            };
            waves * chunks.div_ceil(split) * chunk + 10 + split
        };
        let possible = ways.filter(|&(_, split, _)| split <= chunks);
        let (warps, split, _) = possible.min_by_key(time).unwrap_or((8, 1, 0));
        Self::with(weight, rows, warps, split, num_parts, queue)
    }

    fn with(weight: DType, rows: usize, warps: usize, split: usize, num_parts: usize, queue: &Queue) -> Self {
        let chunk_bytes = Tiling::of(weight).map_or(0, |tiling| tiling.chunk_bytes());
        // As in `wide.cu`.
        let pairs = if rows == 128 { 1 } else { 4 };
        let (x_bytes, w_bytes, table_bytes) = (pairs * 128 * rows, warps * chunk_bytes, warps * TABLE_BYTES);
        let stages = |(per_sm, w_stages): (usize, usize)| {
            let room = (queue.shared_bytes() / per_sm).saturating_sub(RESERVED_BYTES + table_bytes);
            // Weights are asked for no later than the activations that they are multiplied with.
            let most = 2 + (4 * (w_stages - 1) / pairs).min(4);
            let x_stages = (room.saturating_sub(w_stages * w_bytes) / x_bytes).min(most);
            (x_stages >= 3).then_some((per_sm, x_stages, w_stages))
        };
        let most = if rows >= 64 { 3 } else { 4 };
        let ways = [16 / warps, 1].into_iter();
        let mut ways = ways.flat_map(|per_sm| (2..=most).rev().map(move |w_stages| (per_sm, w_stages)));
        let (per_sm, x_stages, w_stages) = ways.find_map(stages).unwrap_or((1, 3, 2));
        let parts_bytes = if split > 1 { warps * TILE * rows * size_of::<f32>() } else { 0 };
        let shared_bytes = (x_stages * x_bytes + w_stages * w_bytes + table_bytes).max(parts_bytes);
        Self { rows, warps, per_sm, split, x_stages, w_stages, shared_bytes, num_parts }
    }

    unsafe fn launch(&self, products: &[(&Desc, &Args)], launcher: &Launcher<'_>) -> Result<(), CudaError> {
        let Some(&(desc, args)) = products.first() else { return Ok(()) };
        let nothing = (std::ptr::null(), std::ptr::null(), std::ptr::null_mut());
        let nothing = Matrix { tiles: nothing.0, bias: nothing.1, out: nothing.2, n: 0, first_band: u32::MAX };
        let (mut matrices, mut first_band) = ([nothing; MOST_MATRICES], 0);
        for (matrix, product) in matrices.iter_mut().zip(products) {
            let (desc, args) = product;
            *matrix = Matrix {
                tiles: launcher.weight(args.weight),
                bias: launcher.weight(args.bias),
                out: args.out,
                n: desc.n as u32,
                first_band,
            };
            first_band += num_bands(&[*product], self.warps) as u32;
        }
        let device_args = DeviceArgs {
            matrices,
            x: args.x,
            factors: factors(desc, args),
            k: desc.k as u32,
            num_rows: args.num_rows as u32,
            num_parts: self.num_parts as u32,
        };
        let constants = [
            type_constant(desc.weight),
            ("ROWS", self.rows as i64),
            ("WARPS", self.warps as i64),
            ("PER_SM", self.per_sm as i64),
            ("SPLIT", self.split as i64),
            ("X_STAGES", self.x_stages as i64),
            ("W_STAGES", self.w_stages as i64),
        ];
        let kernel = Kernel { source: &SOURCE, entry: "matmul_wide", constants: &constants };
        let blocks = [first_band * (self.num_parts * self.split) as u32, 1, 1];
        let grid = Grid { blocks, threads: 32 * self.warps as u32, shared_bytes: self.shared_bytes as u32 };
        // SAFETY: the caller's promise; the struct is that of the source.
        unsafe { launcher.launch(&kernel, grid, &device_args) }
    }
}

/// Bands of 16 `warps` rows of all matrices.
fn num_bands(products: &[(&Desc, &Args)], warps: usize) -> usize {
    products.iter().map(|(desc, _)| desc.n.div_ceil(TILE * warps)).sum()
}
