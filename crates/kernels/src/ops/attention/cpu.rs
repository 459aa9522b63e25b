//! Attention on the CPU, written once for all instruction sets: how the work is cut and shared.
//!
//! A query of one row and one head is a *pair*. The pairs of a sequence that share a KV head read the
//! same keys, so they are computed together: few pairs in passes over parts of the keys (decode: bound by
//! reading the cache), many in tiles of pairs over all keys (prefill: bound by arithmetic). Floats have a
//! kernel for each (`stream`, `tile`), a quantised cache one for both (`bytes`).

use std::marker::PhantomData;
use std::ops::Range;

use device::Shard;

use super::bytes::Compiled;
use super::head::Head;
use super::parts::joined_len;
use super::tile::Products;
use super::{Args, Desc, SPLIT_ROWS, bytes, stream, tile};
use crate::fault::{self, Faults};
use crate::simd::Lanes;

/// The kernels for one kind of cache.
///
/// # Safety
/// Both functions require that the head is bound to live memory, that `scratch` has `scratch_len` floats,
/// and that the CPU has the features of the implementing type.
#[expect(clippy::missing_safety_doc, reason = "said once, above, for all functions")]
pub trait Form {
    /// Most pairs of a tile.
    const TILE: usize;

    /// Floats of scratch memory.
    fn scratch_len(desc: &Desc) -> usize;
    /// All pairs of `head` over some of their keys; leaves partial results at the start of `scratch`.
    unsafe fn part(head: &Head<'_>, keys: Range<usize>, scratch: *mut f32);
    /// Some pairs over all of their keys, to the output. Returns what is wrong with them.
    unsafe fn tile(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults;
}

/// Caches of floats; tiles by the products `P`.
pub struct Floats<V, P>(PhantomData<(V, P)>);

impl<V: Lanes, P: Products<V>> Form for Floats<V, P> {
    const TILE: usize = tile::PAIRS;

    fn scratch_len(desc: &Desc) -> usize {
        stream::scratch_len(desc).max(tile::scratch_len(desc))
    }

    #[inline(always)]
    unsafe fn part(head: &Head<'_>, keys: Range<usize>, scratch: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { stream::stream::<V>(head, keys, scratch) }
    }

    #[inline(always)]
    unsafe fn tile(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults {
        // SAFETY: the caller's promise.
        unsafe { tile::tile::<V, P>(head, pairs, scratch) }
    }
}

/// Quantised caches.
pub struct Codes<V>(PhantomData<V>);

impl<V: Compiled> Form for Codes<V> {
    const TILE: usize = bytes::PAIRS;

    fn scratch_len(desc: &Desc) -> usize {
        bytes::scratch_len(desc, bytes::PAIRS)
    }

    #[inline(always)]
    unsafe fn part(head: &Head<'_>, keys: Range<usize>, scratch: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { bytes::bytes::<V>(head, 0..head.num_pairs(), keys, scratch) }
    }

    #[inline(always)]
    unsafe fn tile(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults {
        // SAFETY: the caller's promise.
        unsafe {
            bytes::bytes::<V>(head, pairs.clone(), head.keys(&pairs), scratch);
            head.finish(pairs, scratch)
        }
    }
}

/// Whether [`Floats`] can run `desc`: head dimensions must fill vectors, and 16 consecutive keys must lie
/// in one block.
pub fn accepts(desc: &Desc, vector: usize) -> bool {
    let layout = &desc.layout;
    !layout.k.is_quantized()
        && !layout.v.is_quantized()
        && layout.head_dim_k.is_multiple_of(vector)
        && layout.head_dim_v.is_multiple_of(vector)
        && layout.block_size.is_multiple_of(stream::GROUP)
}

/// All heads of all sequences, in order.
#[derive(Clone, Copy)]
struct Heads<'a> {
    desc: &'a Desc,
    args: &'a Args,
}

/// How the work of a step is cut.
#[derive(Clone, Copy)]
struct Cut {
    /// Whether keys are cut too, into parts.
    split: bool,
    /// Pairs of a tile.
    tile: usize,
    num_units: usize,
}

impl<'a> Heads<'a> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.args.kv.num_views * self.desc.layout.num_kv_heads
    }

    /// # Safety
    /// `args` must be bound to live memory of the described shape.
    #[inline(always)]
    unsafe fn at(&self, index: usize) -> Head<'a> {
        let heads = self.desc.layout.num_kv_heads;
        // SAFETY: the caller's promise.
        unsafe {
            let view = &*self.args.kv.views.add(index / heads);
            let index = index % heads;
            let cached = view.cached(self.desc.layer, index as u32, heads as u32) as usize;
            Head { desc: self.desc, args: self.args, view, index, cached }
        }
    }

    /// Pieces of work.
    ///
    /// # Safety
    /// As [`Heads::at`].
    #[inline(always)]
    unsafe fn num_units(&self, split: bool, tile: usize) -> usize {
        let (mut num_units, mut i) = (0, 0);
        while i < self.len() {
            // SAFETY: the caller's promise.
            num_units += unsafe { self.at(i) }.num_units(split, tile);
            i += 1;
        }
        num_units
    }

    /// The same for every worker. Keys are cut only where there are few rows, and so few heads to share
    /// out; tiles are made smaller until there are some for everybody, and as many for each while they are few.
    ///
    /// # Safety
    /// As [`Heads::at`].
    #[inline(always)]
    unsafe fn cut(&self, largest_tile: usize, num_workers: usize) -> Cut {
        // SAFETY: the caller's promise.
        unsafe {
            let (mut num_rows, mut i) = (0, 0);
            while i < self.args.kv.num_views {
                num_rows += (*self.args.kv.views.add(i)).num_rows as usize;
                i += 1;
            }
            let mut cut = Cut { split: false, tile: largest_tile, num_units: self.num_units(false, largest_tile) };
            if num_workers > 1 && num_rows <= SPLIT_ROWS {
                let num_units = self.num_units(true, cut.tile);
                cut.split = num_units > cut.num_units;
                cut.num_units = num_units;
            }
            while cut.tile > SMALLEST_TILE {
                let uneven = num_rows > SPLIT_ROWS && !cut.num_units.is_multiple_of(num_workers);
                let fewest = if uneven { 2 * UNITS_PER_WORKER } else { UNITS_PER_WORKER };
                if cut.num_units >= fewest * num_workers {
                    break;
                }
                cut.tile = if cut.tile.is_power_of_two() { cut.tile / 4 * 3 } else { cut.tile / 3 * 2 };
                cut.num_units = self.num_units(cut.split, cut.tile);
            }
            cut
        }
    }
}

/// Fewest tiles for each worker, so that none waits long for the last; twice as many where some get one more.
const UNITS_PER_WORKER: usize = 4;
/// Fewest pairs of a tile: two vectors.
const SMALLEST_TILE: usize = 32;

/// The whole op. Units of work go to whoever is free, the last rows of a sequence first: they see the
/// most keys. With few rows there are few heads to share out, so their keys are cut too, into parts
/// whose results are joined after a barrier.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `F`, `joined` hold [`scratch_len`] floats.
#[inline(always)]
pub unsafe fn attention<F: Form>(desc: &Desc, args: &Args, shard: &Shard<'_>, joined: *mut f32) {
    let heads = Heads { desc, args };
    // SAFETY: the caller's promise; every unit has outputs of its own.
    unsafe {
        let scratch = joined.add(joined_len(desc));
        let cut = heads.cut(F::TILE, shard.count);
        let (mut i, mut first) = (0, 0);
        for unit in shard.tiles(cut.num_units) {
            while unit >= first + heads.at(i).num_units(cut.split, cut.tile) {
                first += heads.at(i).num_units(cut.split, cut.tile);
                i += 1;
            }
            let (head, unit) = (heads.at(i), unit - first);
            let mut faults = Faults::NONE;
            if !head.is_few() {
                let end = head.num_pairs() - unit * cut.tile;
                faults = F::tile(&head, end.saturating_sub(cut.tile)..end, scratch);
            } else if cut.split {
                F::part(&head, head.part(unit), scratch);
                head.save(unit, scratch);
            } else {
                let mut part = 0;
                while part < head.num_parts() {
                    F::part(&head, head.part(part), scratch);
                    head.join(part, scratch, joined);
                    part += 1;
                }
                faults = head.finish(0..head.num_pairs(), joined);
            }
            fault::unless(faults.is_none(), shard, || faults);
        }
        if cut.split {
            shard.barrier();
            for i in shard.tiles(heads.len()) {
                let head = heads.at(i);
                if head.is_few() {
                    let faults = head.join_saved(joined);
                    fault::unless(faults.is_none(), shard, || faults);
                }
            }
        }
    }
}

/// Floats of scratch memory per worker.
pub fn scratch_len<F: Form>(desc: &Desc) -> usize {
    joined_len(desc) + F::scratch_len(desc)
}
