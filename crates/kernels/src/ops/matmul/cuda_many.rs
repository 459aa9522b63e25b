//! Hundreds of rows of activations that are halves times weights in [`tiles`](crate::tiles), on CUDA devices of compute
//! capability 9.0: a part of [`cuda_wide`](super::cuda_wide), whose kernels are for fewer.

use device::cuda::{CudaError, Grid, Kernel, Queue, Source, TensorMap};
use gguf::DType;

use super::cuda_tiles::{FRAGMENT, RING};
use super::cuda_wide::{MOST_MATRICES, Matrix, WIDE, factors, num_bands, table_bytes};
use super::{Args, Desc, Matmul};
use crate::cuda::{BLOCKS, Launcher, PRELUDE, TILES, type_constant};
use crate::tiles::{CHUNK, TILE, Tiling};
use crate::variant::{Launch, Variant};

pub(super) const SOURCE: Source = Source {
    name: "matmul_many",
    parts: &[PRELUDE, BLOCKS, TILES, FRAGMENT, RING, include_str!("tiles/wgmma.cu"), include_str!("tiles/many.cu")],
};

/// Rows of x that a task computes. With 128 tensor cores would wait: it was slower with each shape and number of rows.
const ROWS: usize = 256;
/// Tiles of weights that it computes, a warp each.
const WARPS: usize = 8;
/// Blocks that compute the same rows of x and read them together, as a cluster.
const PEERS: usize = 2;
/// Threads of the group that asks for what is computed with.
const MORE_THREADS: usize = 128;
/// Boxes of x for which there is room, at least: warps wait for two while tensor cores read the two before.
const LEAST_STAGES: usize = 4;
/// And at most.
const MOST_STAGES: usize = 6;
/// Chunks for each cluster, at least, for which it is worth while: with fewer a block waits longer than it computes.
const LEAST_CHUNKS: usize = 4;
/// What it takes to share tasks, in tenths of what a chunk takes.
const SHARING: usize = 60;
/// Shared memory that the system keeps of every block.
const RESERVED_BYTES: usize = 2 << 10;
/// Columns of a box of x.
const BOX_COLUMNS: usize = 64;

/// Rows of a box of results.
const STAGE_ROWS: usize = 32;

/// `Args` of `many.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    x_map: TensorMap,
    out_maps: [TensorMap; MOST_MATRICES],
    matrices: [Matrix; MOST_MATRICES],
    x: *const u8,
    factors: *const f32,
    parts: *mut f32,
    flags: *mut u32,
    k: u32,
    num_rows: u32,
    num_bands: u32,
    num_tasks: u32,
    shared_tasks: u32,
}

/// For tests, and for who pins it: [`cuda_wide::WIDE`](super::cuda_wide::WIDE) comes before it, and knows when it pays.
pub const MANY: Variant<Matmul> = Variant {
    id: "matmul/tiles/cuda-wgmma-many",
    // The copy engine writes results by 16 bytes.
    accepts: |desc| (WIDE.accepts)(desc) && desc.n.is_multiple_of(4),
    launch: Launch::Cuda(|desc, args, launcher| {
        // SAFETY: the caller's promise.
        unsafe { multiply(&[(desc, args)], launcher) }
    }),
    ..WIDE
};

/// Whether this is faster than kernels for 128 rows, and possible.
pub(super) fn pays(products: &[(&Desc, &Args)], queue: &Queue) -> bool {
    let Some((Desc { k, .. }, Args { num_rows, .. })) = products.first() else { return false };
    let (peers, clusters) = room(queue);
    let parts = num_rows.div_ceil(ROWS);
    let chunks = num_bands(products, peers * WARPS) * parts * k.div_ceil(CHUNK);
    // 256 rows take 1.6 times as long as 128 there.
    let filled = 8 * parts <= 5 * num_rows.div_ceil(ROWS / 2);
    *num_rows > ROWS / 2
        && filled
        && chunks >= LEAST_CHUNKS * clusters
        && products.iter().all(|(desc, _)| (MANY.accepts)(desc))
}

/// Products of one x, at most [`MOST_MATRICES`], which [`MANY`] accepts.
///
/// # Safety
/// As for a variant's launch.
pub(super) unsafe fn multiply(products: &[(&Desc, &Args)], launcher: &Launcher<'_>) -> Result<(), CudaError> {
    // SAFETY: the caller's promise.
    unsafe { Many::of(products, launcher.queue).launch(products, launcher) }
}

/// How the work is divided.
#[derive(Clone, Copy, Debug)]
struct Many {
    /// Blocks that compute the same rows of x, as a cluster. Each has a band of weights for itself.
    peers: usize,
    /// Clusters, at least those that have work.
    clusters: usize,
    tasks: usize,
    /// The first of them, which clusters share by columns.
    shared: usize,
}

impl Many {
    /// The division that should take less time.
    fn of(products: &[(&Desc, &Args)], queue: &Queue) -> Self {
        let (peers, room) = room(queue);
        let (num_rows, k) = products.first().map_or((1, CHUNK), |(desc, args)| (args.num_rows, desc.k));
        let (tasks, chunks) = (num_bands(products, peers * WARPS) * num_rows.div_ceil(ROWS), k.div_ceil(CHUNK));
        let clusters = room.min(tasks * chunks).max(1);
        // In tenths of what a chunk takes. Sharing costs what is passed on and added up.
        let (whole_time, shared_time) =
            (tasks.div_ceil(clusters) * 10 * chunks, 10 * tasks * chunks / clusters + SHARING);
        if whole_time <= shared_time {
            return Self { peers, clusters: clusters.min(tasks), tasks, shared: 0 };
        }
        // Few at least are whole, so that all read the same columns of x, but none is shared by many.
        let (whole, rest) = (tasks / clusters, tasks % clusters);
        let whole = if rest < clusters / 2 { whole.saturating_sub(1) } else { whole };
        Self { peers, clusters, tasks, shared: tasks - whole * clusters }
    }

    unsafe fn launch(&self, products: &[(&Desc, &Args)], launcher: &Launcher<'_>) -> Result<(), CudaError> {
        let Some(&(desc, args)) = products.first() else { return Ok(()) };
        let &Self { peers, clusters, .. } = self;
        let queue = launcher.queue;
        let mut out_maps = [TensorMap::NONE; MOST_MATRICES];
        for (map, (desc, args)) in out_maps.iter_mut().zip(products) {
            *map = queue.map_of_floats(args.out, [args.num_rows, desc.n], STAGE_ROWS)?;
        }
        let division = Division::of(desc.weight, queue);
        // As many as there may ever be: graphs know where they lie.
        let warps = peers * room(queue).1 * WARPS;
        let device_args = DeviceArgs {
            x_map: queue.map_of_halves(args.x.cast(), [args.num_rows, desc.k], ROWS / peers)?,
            out_maps,
            matrices: Matrix::all(products, peers * WARPS, launcher),
            x: args.x,
            factors: factors(desc, args),
            parts: queue.scratch(warps * TILE * ROWS * size_of::<f32>())?.cast(),
            flags: queue.counters(warps)?,
            k: desc.k as u32,
            num_rows: args.num_rows as u32,
            num_bands: num_bands(products, peers * WARPS) as u32,
            num_tasks: self.tasks as u32,
            shared_tasks: self.shared as u32,
        };
        let constants = [
            type_constant(desc.weight),
            ("ROWS", ROWS as i64),
            ("PEERS", peers as i64),
            ("X_STAGES", division.x_stages as i64),
            ("W_STAGES", division.w_stages as i64),
            ("OUT_STAGES", division.out_stages as i64),
        ];
        let kernel = Kernel { source: &SOURCE, entry: "matmul_many", constants: &constants };
        let threads = (32 * WARPS + MORE_THREADS) as u32;
        let blocks = [(clusters * peers) as u32, 1, 1];
        let grid = Grid { blocks, threads, shared_bytes: division.shared_bytes as u32 };
        // SAFETY: the caller's promise; the struct is that of the source.
        unsafe { launcher.launch(&kernel, grid, &device_args) }
    }
}

/// Blocks of a cluster, and clusters that there is room for. Clusters are not emulated; on the host there are few blocks,
/// so that some tasks are shared and some not.
fn room(queue: &Queue) -> (usize, usize) {
    if queue.is_emulated() { (1, 3) } else { (PEERS, queue.clusters(PEERS, 1)) }
}

/// How the kernel divides shared memory.
#[derive(Clone, Copy, Debug)]
struct Division {
    x_stages: usize,
    w_stages: usize,
    /// Boxes of results of each warp.
    out_stages: usize,
    shared_bytes: usize,
}

impl Division {
    /// As many stages as there is room for.
    fn of(weight: DType, queue: &Queue) -> Self {
        let room = queue.shared_bytes().saturating_sub(RESERVED_BYTES);
        let x_bytes = ROWS * BOX_COLUMNS * size_of::<u16>();
        let chunk_bytes = Tiling::of(weight).map_or(0, |tiling| tiling.chunk_bytes());
        let way = |(w_stages, out_stages): (usize, usize)| {
            let out_bytes = out_stages * STAGE_ROWS * TILE * size_of::<f32>();
            let other_bytes = WARPS * (w_stages * chunk_bytes + out_bytes + table_bytes(weight));
            let x_stages = (room.saturating_sub(other_bytes) / x_bytes).min(MOST_STAGES);
            Self { x_stages, w_stages, out_stages, shared_bytes: x_stages * x_bytes + other_bytes }
        };
        let ways = [(3, 2), (2, 2), (2, 1)].map(way);
        ways.into_iter().find(|way| way.x_stages >= LEAST_STAGES).unwrap_or(ways[2])
    }
}
