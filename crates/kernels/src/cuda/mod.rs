//! What the CUDA variants of all ops share: the texts that their sources begin with, and what they are launched by.
//!
//! A variant is a function on the host that puts kernels on a queue (`ops/<op>/cuda.rs`) and a source beside it
//! (`cuda.cu`), specialised on the constants of the problem and compiled for the device that is there.

pub(crate) mod fused;
mod lattice;
mod noise;

use std::collections::BTreeMap;

use device::cuda::{CudaError, FaultPlace, Grid, Kernel, Memory, Queue, Source};
use gguf::DType;

use crate::kv::fit::KeyFit;
use crate::kv::{KvLayout, KvType};
use crate::launch::{KvFrame, Weight};
use crate::ops::matmul;
use crate::ops::rope::Pairing;
use crate::tiles::{CHUNK, TILE, Tiling};

pub(crate) use lattice::POINTS;

/// First part of every source.
pub(crate) const PRELUDE: &str = include_str!("prelude.cu");
/// Weights in the blocks of the file; needs [`has_form`].
pub(crate) const BLOCKS: &str = include_str!("blocks.cu");
/// Weights whose codes are points of a lattice, in the blocks of the file; comes after [`POINTS`].
pub(crate) const LATTICE: &str = include_str!("lattice.cu");
/// Weights in tiles; comes after [`BLOCKS`].
pub(crate) const TILES: &str = include_str!("tiles.cu");
/// Keys fitted to their codes; needs [`fit_constants`] and [`kv_constants`].
pub(crate) const FIT: &str = include_str!("fit.cu");
/// The paged cache; needs [`kv_constants`], and comes after [`FIT`].
pub(crate) const KV: &str = include_str!("kv.cu");

/// What a variant is launched by.
pub struct Launcher<'a> {
    /// Where its kernels go.
    pub queue: &'a Queue,
    /// Where the weights are on the device.
    pub weights: &'a DeviceWeights,
}

impl Launcher<'_> {
    /// Enqueues a kernel; see [`Queue::launch`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn launch<T: Copy>(&self, kernel: &Kernel<'_>, grid: Grid, args: &T) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.queue.launch(kernel, grid, args) }
    }

    /// Where the device keeps what lies at this address on the host; null for null.
    pub fn weight<T>(&self, host: *const T) -> *const T {
        self.weights.at(host.cast()).cast()
    }
}

/// Copies of weights on a device, found by their addresses on the host: plans name weights by these, whatever
/// computes with them.
#[derive(Debug, Default)]
pub struct DeviceWeights {
    places: BTreeMap<usize, (usize, Memory)>,
}

impl DeviceWeights {
    /// Brings weights to the queue's device, unless they are there already.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn add(&mut self, queue: &Queue, parts: &[HostWeight<'_>]) -> Result<(), CudaError> {
        let (mut pieces, mut places) = (Vec::new(), Vec::new());
        for part in parts {
            let Some(memory) = self.take(queue, part)? else { continue };
            match part.tiles {
                None => {
                    let of_piece = |nth| Place::Bytes(memory.wrapping_add(nth * PIECE_BYTES));
                    pieces.extend(part.bytes.chunks(PIECE_BYTES));
                    places.extend((0..part.bytes.len().div_ceil(PIECE_BYTES)).map(of_piece));
                }
                Some((tiling, k)) => {
                    let rows = tile_rows(tiling, k);
                    let chunks = part.bytes.chunks(rows * row_bytes(tiling.dtype(), k));
                    let of_piece = |nth| Place::Tiles(tiling, k, memory.wrapping_add(tiling.bytes(nth * rows, k)));
                    places.extend((0..chunks.len()).map(of_piece));
                    pieces.extend(chunks);
                }
            }
        }
        queue.stage(&pieces, |index, bytes| match places[index] {
            // SAFETY: the memory is that of the whole part; staged bytes stay until they are copied.
            Place::Bytes(to) => unsafe { queue.upload(bytes, to) },
            // SAFETY: scratch is as large as the piece and used again only after the kernel; the memory holds all tiles.
            Place::Tiles(tiling, k, tiles) => unsafe {
                let from = queue.scratch(bytes.len())?;
                queue.upload(bytes, from)?;
                tile(queue, tiling, from, tiles, bytes.len() / row_bytes(tiling.dtype(), k), k)
            },
        })
    }

    /// Makes up weights of a type in the place of such, which are not read.
    ///
    /// # Errors
    /// When the device has no room, or the type is none that can be made up.
    pub fn make(&mut self, queue: &Queue, part: &HostWeight<'_>, dtype: DType) -> Result<(), CudaError> {
        let seed = self.places.len() as u64;
        let Some(memory) = self.take(queue, part)? else { return Ok(()) };
        let Some((tiling, k)) = part.tiles else {
            // SAFETY: the memory is as large.
            return unsafe { noise::fill(queue, dtype, memory, part.bytes.len(), seed) };
        };
        let rows = tile_rows(tiling, k);
        for (nth, piece) in part.bytes.chunks(rows * row_bytes(dtype, k)).enumerate() {
            let tiles = memory.wrapping_add(tiling.bytes(nth * rows, k));
            // SAFETY: as in `add`.
            unsafe {
                let from = queue.scratch(piece.len())?;
                noise::fill(queue, dtype, from, piece.len(), (seed << 32) + nth as u64)?;
                tile(queue, tiling, from, tiles, piece.len() / row_bytes(dtype, k), k)?;
            }
        }
        Ok(())
    }

    /// Takes memory for weights, unless they have it already, or there is no device. Returns where it begins.
    fn take(&mut self, queue: &Queue, part: &HostWeight<'_>) -> Result<Option<*mut u8>, CudaError> {
        let (key, len) = (part.bytes.as_ptr() as usize, part.bytes.len());
        let known = self.places.get(&key).is_some_and(|(had, _)| *had >= len);
        if known || len == 0 || (queue.gpu().is_none() && !queue.is_emulated()) {
            return Ok(None);
        }
        let memory = match part.tiles {
            None => queue.memory(len, "weights")?,
            Some((tiling, k)) => {
                queue.memory(tiling.bytes(len / row_bytes(tiling.dtype(), k), k), "weights in tiles")?
            }
        };
        let begin = memory.as_ptr();
        self.places.insert(key, (len, memory));
        Ok(Some(begin))
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> usize {
        self.places.values().map(|(_, memory)| memory.len()).sum()
    }

    /// Whether there is a copy of what begins at this address.
    pub fn has(&self, host: *const u8) -> bool {
        host.is_null() || !self.at(host).is_null()
    }

    /// The copy of what lies at this address; null where there is none.
    fn at(&self, host: *const u8) -> *const u8 {
        let address = host as usize;
        match self.places.range(..=address).next_back() {
            Some((start, (len, memory))) if address - start < *len => {
                memory.as_ptr().wrapping_add(address - start).cast_const()
            }
            _ => std::ptr::null(),
        }
    }
}

/// Weights as they lie on the host.
#[derive(Clone, Copy, Debug)]
pub struct HostWeight<'a> {
    /// The bytes, whose address names them in plans.
    pub bytes: &'a [u8],
    /// What their rows are laid out in on the device, and how many columns these have.
    pub tiles: Option<(Tiling, usize)>,
}

/// Where a piece of weights goes: as it is, or as tiles of rows of so many columns.
#[derive(Clone, Copy)]
enum Place {
    Bytes(*mut u8),
    Tiles(Tiling, usize, *mut u8),
}

/// Bytes that are on their way at one time.
const PIECE_BYTES: usize = 4 << 20;

/// Rows of a matrix that are laid out in tiles at one time.
fn tile_rows(tiling: Tiling, k: usize) -> usize {
    (PIECE_BYTES / row_bytes(tiling.dtype(), k)).next_multiple_of(TILE)
}

fn row_bytes(dtype: DType, k: usize) -> usize {
    k / dtype.block_len() * dtype.block_bytes()
}

/// Enqueues the making of tiles from rows of the file, both on the device.
///
/// # Safety
/// `rows` must hold `n` rows of `k` columns, and `tiles` must have room for [`Tiling::bytes`].
pub(crate) unsafe fn tile(
    queue: &Queue,
    tiling: Tiling,
    rows: *const u8,
    tiles: *mut u8,
    n: usize,
    k: usize,
) -> Result<(), CudaError> {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Args {
        rows: *const u8,
        tiles: *mut u8,
        row_bytes: u64,
        n: u32,
        k: u32,
    }
    const SOURCE: Source = Source { name: "tiles", parts: &[PRELUDE, BLOCKS, TILES, include_str!("../tiles/pack.cu")] };
    const WARPS: usize = 4;
    let dtype = tiling.dtype();
    let row_bytes = row_bytes(dtype, k) as u64;
    let kernel = Kernel { source: &SOURCE, entry: "pack", constants: &[type_constant(dtype)] };
    let args = Args { rows, tiles, row_bytes, n: n as u32, k: k as u32 };
    let grid = Grid::row(blocks(n.div_ceil(TILE) * k.div_ceil(CHUNK), WARPS), 32 * WARPS as u32);
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { queue.launch(&kernel, grid, &args) }
}

/// Has a queue compile the kernels that no variant is specialised by alone, and those of tiles for the widths of real
/// models. Nothing runs. Returns what does not compile.
pub(crate) fn compile_shared(queue: &Queue) -> Vec<CudaError> {
    let (weights, rehearsed) = (DeviceWeights::default(), queue.is_rehearsing());
    let launcher = Launcher { queue, weights: &weights };
    queue.rehearse(true);
    // SAFETY: a queue that rehearses follows no address.
    let mut all = vec![unsafe { look_over(&launcher, std::ptr::null(), [0, 0], std::ptr::null_mut()) }];
    // SAFETY: as above.
    all.push(unsafe { noise::fill(queue, DType::F16, std::ptr::null_mut(), 0, 0) });
    all.extend(fused::compile(queue));
    for tiling in Tiling::all() {
        // SAFETY: as above.
        all.push(unsafe { tile(queue, tiling, std::ptr::null(), std::ptr::null_mut(), TILE, CHUNK) });
        all.extend(matmul::compile_tiles(&launcher, tiling.dtype()));
    }
    queue.rehearse(rehearsed);
    all.into_iter().filter_map(Result::err).collect()
}

/// Whether `blocks.cu` and `lattice.cu` can read rows of this type: all that weights come in.
pub(crate) fn has_form(dtype: DType) -> bool {
    use DType::*;
    !matches!(dtype, F64 | I8 | I16 | I32 | I64)
}

/// The constant that chooses a form in `blocks.cu`.
pub(crate) fn type_constant(dtype: DType) -> (&'static str, i64) {
    ("TYPE", i64::from(dtype.id()))
}

/// The constants of `kv.cu`.
pub(crate) fn kv_constants(layout: &KvLayout) -> [(&'static str, i64); 6] {
    let kind = |kv_type| match kv_type {
        KvType::F32 => 0,
        KvType::F16 => 1,
        KvType::Bf16 => 2,
        KvType::Q8 => 3,
        KvType::Q4 => 4,
    };
    [
        ("DIM_K", layout.head_dim_k as i64),
        ("DIM_V", layout.head_dim_v as i64),
        ("K_TYPE", kind(layout.k)),
        ("V_TYPE", kind(layout.v)),
        ("BLOCK_SIZE", layout.block_size as i64),
        ("NUM_KV_HEADS", layout.num_kv_heads as i64),
    ]
}

/// `Kv` of `kv.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Kv {
    storage: *mut u8,
    views: *const crate::launch::KvView,
    num_views: u32,
    layer: u32,
}

impl Kv {
    pub(crate) fn new(frame: &KvFrame, layer: u32) -> Self {
        Kv { storage: frame.storage, views: frame.views, num_views: frame.num_views as u32, layer }
    }
}

/// The constants of `fit.cu`.
pub(crate) fn fit_constants(fit: Option<&KeyFit>) -> [(&'static str, i64); 3] {
    let rotary = fit.map_or(0, |fit| fit.rotary_dim);
    let adjacent = fit.is_some_and(|fit| fit.pairing == Pairing::Adjacent);
    [("FIT", i64::from(fit.is_some())), ("ROTARY", rotary as i64), ("ADJACENT", i64::from(adjacent))]
}

/// `Fit` of `fit.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Fit {
    heads: *const f32,
    near: *const f32,
    halves: *const u16,
    far: *const f32,
}

impl Fit {
    pub(crate) fn new(fit: Option<&KeyFit>, launcher: &Launcher<'_>) -> Self {
        let at = |part: fn(&KeyFit) -> Weight| launcher.weight(fit.map_or(std::ptr::null(), |fit| part(fit).0));
        Fit {
            heads: at(|fit| fit.heads).cast(),
            near: at(|fit| fit.near).cast(),
            halves: at(|fit| fit.near_halves).cast(),
            far: at(|fit| fit.far).cast(),
        }
    }
}

/// Blocks that cover `count` with `per_block` each.
pub(crate) fn blocks(count: usize, per_block: usize) -> u32 {
    count.div_ceil(per_block) as u32
}

/// Looks over logits on the device, `[num_rows, num_tokens]`; what is wrong with them is the last step's fault. Of each row
/// the most likely token goes to `best` ([`best_token`]).
///
/// # Safety
/// So many values must lie there on the device, and as many words as rows, all ones.
pub(crate) unsafe fn look_over(
    launcher: &Launcher<'_>,
    logits: *const f32,
    [num_rows, num_tokens]: [usize; 2],
    best: *mut u64,
) -> Result<(), CudaError> {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Args {
        logits: *const f32,
        best: *mut u64,
        fault: FaultPlace,
        num_tokens: u32,
    }
    const SOURCE: Source = Source { name: "look_over", parts: &[PRELUDE, include_str!("look_over.cu")] };
    let kernel = Kernel { source: &SOURCE, entry: "look_over", constants: &[] };
    let args = Args { logits, best, fault: launcher.queue.fault_place(), num_tokens: num_tokens as u32 };
    let grid = Grid { blocks: [num_rows as u32, blocks(num_tokens, 1024), 1], threads: 256, shared_bytes: 0 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid, &args) }
}

/// The token of a word of [`look_over`]; none where the row has a logit that is none, or rules out every token.
pub(crate) fn best_token(word: u64) -> Option<u32> {
    /// The upper half for -Inf.
    const NEVER: u32 = f32::NEG_INFINITY.to_bits();
    let above = (word >> u32::BITS) as u32;
    (above > 0 && above < NEVER).then_some(word as u32)
}
