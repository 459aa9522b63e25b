//! Attention on the CPU, written once for all instruction sets: how the work is cut and shared.
//!
//! A query of one row and one head is a *pair*. The pairs of a sequence that share a KV head read the
//! same keys, so they are computed together: few pairs by `stream` (decode: bound by reading the
//! cache), many by `tile` (prefill: bound by arithmetic).

use std::ops::Range;

use device::Shard;

use super::reference::first_visible;
use super::{Args, Desc, MAX_PARTS, SPLIT_ROWS, partial_len, stream, tile};
use crate::launch::KvView;
use crate::rows::{row, row_mut};
use crate::simd::{LOG2_E, Lanes};

/// Fewest keys worth a worker of their own.
const MIN_PART: usize = 256;

/// Whether the variants over [`Lanes`] can run `desc`: head dimensions must fill vectors, and 16
/// consecutive keys must lie in one block.
pub fn accepts(desc: &Desc, vector: usize) -> bool {
    let layout = &desc.layout;
    layout.head_dim_k.is_multiple_of(vector)
        && layout.head_dim_v.is_multiple_of(vector)
        && layout.block_size.is_multiple_of(stream::GROUP)
}

/// One KV head of one sequence, with all that the kernels need to find queries, keys and values.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The problem.
    pub desc: &'a Desc,
    /// Addresses.
    pub args: &'a Args,
    /// The sequence.
    pub view: &'a KvView,
    /// The KV head.
    pub index: usize,
    /// Tokens in the cache before this step.
    pub cached: usize,
}

impl Head<'_> {
    /// Query heads that share this KV head.
    #[inline(always)]
    pub fn group(&self) -> usize {
        self.desc.num_heads / self.desc.layout.num_kv_heads
    }

    /// Pairs of this head: the heads of the first row, then of the second, …
    #[inline(always)]
    pub fn num_pairs(&self) -> usize {
        self.view.num_rows as usize * self.group()
    }

    /// Index of a pair among all queries of the step, `row * num_heads + head`.
    #[inline(always)]
    pub fn query(&self, pair: usize) -> usize {
        let (row, head) = (pair / self.group(), pair % self.group());
        (self.view.first_row as usize + row) * self.desc.num_heads + self.index * self.group() + head
    }

    /// Keys that a pair sees.
    #[inline(always)]
    pub fn visible(&self, pair: usize) -> Range<usize> {
        let position = self.cached + pair / self.group();
        first_visible(self.desc, position)..position + 1
    }

    /// Keys that some pair of a range sees, from the start of a group on.
    #[inline(always)]
    pub fn keys(&self, pairs: &Range<usize>) -> Range<usize> {
        let first = self.visible(pairs.start).start;
        first / stream::GROUP * stream::GROUP..self.visible(pairs.end - 1).end
    }

    /// Addresses of the key and the value of one token.
    ///
    /// # Safety
    /// The token must be in the cache.
    #[inline(always)]
    pub unsafe fn stored(&self, token: usize) -> (*const u8, *const u8) {
        let layout = &self.desc.layout;
        let (logical, slot) = (token / layout.block_size, token % layout.block_size);
        // SAFETY: the caller's promise.
        unsafe {
            let block = self.view.physical(self.desc.layer, self.index as u32, logical as u32);
            let storage = self.args.kv.storage.cast_const();
            (storage.add(layout.key_at(block, slot)), storage.add(layout.value_at(block, slot)))
        }
    }

    /// Factor on queries, such that scores come out as powers of two, or ready for [`Head::cap`].
    #[inline(always)]
    pub fn query_factor(&self) -> f32 {
        let Desc { scale, softcap, .. } = *self.desc;
        if softcap > 0.0 { scale / softcap } else { scale * LOG2_E }
    }

    /// Factor on the tanh of scores; 0 for no soft cap.
    #[inline(always)]
    pub fn cap(&self) -> f32 {
        self.desc.softcap.max(0.0) * LOG2_E
    }

    /// Whether few enough pairs are asked for that reading keys costs more than using them.
    #[inline(always)]
    fn streams(&self) -> bool {
        self.num_pairs() <= stream::PAIRS
    }

    /// Keys per part when the keys of this head are cut for several workers. Depends on the sequence
    /// alone, so that results depend neither on the number of workers nor on the rest of the batch.
    #[inline(always)]
    fn part_len(&self) -> usize {
        let keys = self.keys(&(0..self.num_pairs()));
        keys.len().div_ceil(MAX_PARTS).max(MIN_PART).next_multiple_of(stream::CHUNK)
    }

    #[inline(always)]
    fn num_parts(&self) -> usize {
        self.keys(&(0..self.num_pairs())).len().div_ceil(self.part_len())
    }

    #[inline(always)]
    fn part(&self, index: usize) -> Range<usize> {
        let keys = self.keys(&(0..self.num_pairs()));
        let start = keys.start + index * self.part_len();
        start..keys.end.min(start + self.part_len())
    }

    /// Pieces of work that this head makes.
    #[inline(always)]
    fn num_units(&self, split: bool) -> usize {
        if self.num_pairs() == 0 {
            return 0;
        }
        match (self.streams(), split) {
            (true, true) => self.num_parts(),
            (true, false) => 1,
            (false, _) => self.num_pairs().div_ceil(tile::PAIRS),
        }
    }
}

/// All heads of all sequences, in order.
#[derive(Clone, Copy)]
struct Heads<'a> {
    desc: &'a Desc,
    args: &'a Args,
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

    /// Whether keys are cut, and the number of units of work. The same for every worker.
    ///
    /// # Safety
    /// As [`Heads::at`].
    #[inline(always)]
    unsafe fn split(&self, num_workers: usize) -> (bool, usize) {
        let (mut num_rows, mut whole, mut cut) = (0, 0, 0);
        let mut i = 0;
        while i < self.len() {
            // SAFETY: the caller's promise.
            let head = unsafe { self.at(i) };
            num_rows += if head.index == 0 { head.view.num_rows as usize } else { 0 };
            whole += head.num_units(false);
            cut += head.num_units(true);
            i += 1;
        }
        let split = num_workers > 1 && num_rows <= SPLIT_ROWS && cut > whole;
        (split, if split { cut } else { whole })
    }
}

/// The whole op. Units of work go to whoever is free, the last rows of a sequence first: they see the
/// most keys. With few rows there are few heads to share out, so their keys are cut too, into parts
/// whose results are joined after a barrier.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`, `joined` hold [`scratch_len`] floats.
#[inline(always)]
pub unsafe fn attention<V: Lanes>(desc: &Desc, args: &Args, shard: &Shard<'_>, joined: *mut f32) {
    let heads = Heads { desc, args };
    // SAFETY: the caller's promise; every unit has outputs of its own.
    unsafe {
        let scratch = joined.add(joined_len(desc));
        let (split, num_units) = heads.split(shard.count);
        let (mut i, mut first) = (0, 0);
        for unit in shard.tiles(num_units) {
            while unit >= first + heads.at(i).num_units(split) {
                first += heads.at(i).num_units(split);
                i += 1;
            }
            let (head, unit) = (heads.at(i), unit - first);
            if !head.streams() {
                let end = head.num_pairs() - unit * tile::PAIRS;
                tile::tile::<V>(&head, end.saturating_sub(tile::PAIRS)..end, scratch);
            } else if split {
                stream::stream::<V>(&head, head.part(unit), scratch);
                head.save(unit, scratch);
            } else {
                let mut part = 0;
                while part < head.num_parts() {
                    stream::stream::<V>(&head, head.part(part), scratch);
                    head.join(part, scratch, joined);
                    part += 1;
                }
                head.finish(joined);
            }
        }
        if split {
            shard.barrier();
            for i in shard.tiles(heads.len()) {
                let head = heads.at(i);
                if head.streams() {
                    head.join_saved(joined);
                }
            }
        }
    }
}

/// Floats of scratch memory per worker.
pub fn scratch_len(desc: &Desc) -> usize {
    joined_len(desc) + stream::scratch_len(desc).max(tile::scratch_len(desc))
}

/// Floats for the joined results of the pairs of one head.
fn joined_len(desc: &Desc) -> usize {
    stream::PAIRS * partial_len(desc)
}

/// Partial results of streamed heads: per pair the sums of values, the maximum and the total.
impl Head<'_> {
    /// Where a part's result for one pair waits for the others.
    ///
    /// # Safety
    /// There must be at most [`SPLIT_ROWS`] rows in the step.
    #[inline(always)]
    unsafe fn saved(&self, pair: usize, part: usize) -> *mut f32 {
        let index = self.query(pair) * MAX_PARTS + part;
        // SAFETY: within `scratch_bytes`.
        unsafe { self.args.scratch.add(index * partial_len(self.desc)) }
    }

    /// Keeps a part's results for all workers.
    #[inline(always)]
    unsafe fn save(&self, part: usize, partial: *const f32) {
        let len = partial_len(self.desc);
        let mut pair = 0;
        while pair < self.num_pairs() {
            // SAFETY: each pair and part has a place of its own.
            unsafe { std::ptr::copy_nonoverlapping(partial.add(pair * len), self.saved(pair, part), len) };
            pair += 1;
        }
    }

    /// Joins the next part's results, in the order of parts.
    #[inline(always)]
    unsafe fn join(&self, part: usize, partial: *const f32, joined: *mut f32) {
        let len = partial_len(self.desc);
        let mut pair = 0;
        while pair < self.num_pairs() {
            // SAFETY: both hold the results of all pairs.
            unsafe { join(self.desc.layout.head_dim_v, part, row(partial, pair, len), row_mut(joined, pair, len)) };
            pair += 1;
        }
    }

    /// Joins what the workers saved and writes the output.
    #[inline(always)]
    unsafe fn join_saved(&self, joined: *mut f32) {
        let len = partial_len(self.desc);
        // SAFETY: all parts were saved before the barrier.
        unsafe {
            let mut pair = 0;
            while pair < self.num_pairs() {
                let mut part = 0;
                while part < self.num_parts() {
                    let saved = row(self.saved(pair, part), 0, len);
                    join(self.desc.layout.head_dim_v, part, saved, row_mut(joined, pair, len));
                    part += 1;
                }
                pair += 1;
            }
            self.finish(joined);
        }
    }

    /// Sums over totals to the output.
    #[inline(always)]
    unsafe fn finish(&self, joined: *const f32) {
        let dim = self.desc.layout.head_dim_v;
        let mut pair = 0;
        while pair < self.num_pairs() {
            // SAFETY: this worker alone writes these outputs.
            let (sums, out) =
                unsafe { (row(joined, pair, partial_len(self.desc)), row_mut(self.args.out, self.query(pair), dim)) };
            let inverse = 1.0 / sums[dim + 1];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * inverse);
            pair += 1;
        }
    }
}

/// Brings two partial results to a common maximum and adds them; the first part starts afresh.
fn join(dim: usize, part: usize, partial: &[f32], joined: &mut [f32]) {
    if part == 0 {
        joined.copy_from_slice(partial);
        return;
    }
    let maximum = joined[dim].max(partial[dim]);
    let (old, new) = ((joined[dim] - maximum).exp2(), (partial[dim] - maximum).exp2());
    joined.iter_mut().zip(partial).for_each(|(joined, &partial)| *joined = *joined * old + partial * new);
    joined[dim] = maximum;
}
