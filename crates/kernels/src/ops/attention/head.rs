//! One KV head of one sequence: where its queries, keys and values lie, who sees what, and how its work
//! is cut. Used by the driver (`cpu`) and by both forms of the kernel.

use std::ops::Range;

use super::reference::first_visible;
use super::{Args, Desc, MAX_PARTS, bytes, stream};
use crate::launch::KvView;
use crate::simd::LOG2_E;

/// Fewest keys worth a worker of their own.
const MIN_PART: usize = 256;

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

/// A group of tokens in a quantised cache: its codes (`kv/code` says how they lie) and its scales.
#[derive(Clone, Copy)]
pub struct CodeGroup {
    /// Codes of keys.
    pub keys: *const u8,
    /// Codes of values.
    pub values: *const u8,
    /// One per token.
    pub key_scales: *const f32,
    /// One per token.
    pub value_scales: *const f32,
}

impl CodeGroup {
    /// No group.
    pub const NONE: CodeGroup = CodeGroup {
        keys: std::ptr::null(),
        values: std::ptr::null(),
        key_scales: std::ptr::null(),
        value_scales: std::ptr::null(),
    };
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

    /// Those pairs of a range, counted from its first, that see all of some keys.
    #[inline(always)]
    pub fn seeing(&self, pairs: &Range<usize>, keys: &Range<usize>) -> Range<usize> {
        let start = first(pairs, |pair| self.visible(pair).end >= keys.end);
        let end = first(pairs, |pair| self.visible(pair).start > keys.start);
        start..end.max(start)
    }

    /// Keys that some pair of a range sees, from the start of a group on.
    #[inline(always)]
    pub fn keys(&self, pairs: &Range<usize>) -> Range<usize> {
        let first = self.visible(pairs.start).start;
        first / stream::GROUP * stream::GROUP..self.visible(pairs.end - 1).end
    }

    /// Addresses of the key and the value of one token, in a cache of floats.
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
            let (keys, values) = (layout.keys_at(block), layout.values_at(block));
            (storage.add(keys + layout.keys().row_at(slot)), storage.add(values + layout.values().row_at(slot)))
        }
    }

    /// Where the group of tokens that begins with `token` lies, in a quantised cache.
    ///
    /// # Safety
    /// The token must be in the cache and the first of a group.
    #[inline(always)]
    pub unsafe fn codes(&self, token: usize) -> CodeGroup {
        let layout = &self.desc.layout;
        let (logical, slot) = (token / layout.block_size, token % layout.block_size);
        // SAFETY: the caller's promise.
        unsafe {
            let block = self.view.physical(self.desc.layer, self.index as u32, logical as u32);
            let storage = self.args.kv.storage.cast_const();
            let (keys, values) = (storage.add(layout.keys_at(block)), storage.add(layout.values_at(block)));
            CodeGroup {
                keys: keys.add(layout.keys().group_at(slot)),
                values: values.add(layout.values().group_at(slot)),
                key_scales: keys.add(layout.keys().scale_at(slot)).cast(),
                value_scales: values.add(layout.values().scale_at(slot)).cast(),
            }
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
    pub fn is_few(&self) -> bool {
        self.num_pairs() <= stream::PAIRS
    }

    /// Keys per part when the keys of this head are cut for several workers. Depends on the sequence
    /// alone, so that results depend neither on the number of workers nor on the rest of the batch.
    #[inline(always)]
    fn part_len(&self) -> usize {
        let keys = self.keys(&(0..self.num_pairs()));
        keys.len().div_ceil(MAX_PARTS).max(MIN_PART).next_multiple_of(bytes::CHUNK)
    }

    /// Parts that the keys are cut into.
    #[inline(always)]
    pub fn num_parts(&self) -> usize {
        self.keys(&(0..self.num_pairs())).len().div_ceil(self.part_len())
    }

    /// Keys of one part.
    #[inline(always)]
    pub fn part(&self, index: usize) -> Range<usize> {
        let keys = self.keys(&(0..self.num_pairs()));
        let start = keys.start + index * self.part_len();
        start..keys.end.min(start + self.part_len())
    }

    /// Pieces of work that this head makes, with tiles of that many pairs.
    #[inline(always)]
    pub fn num_units(&self, split: bool, tile: usize) -> usize {
        if self.num_pairs() == 0 {
            return 0;
        }
        match (self.is_few(), split) {
            (true, true) => self.num_parts(),
            (true, false) => 1,
            (false, _) => self.num_pairs().div_ceil(tile),
        }
    }
}

/// The first of some numbers, counted from the first, for which something holds that holds for all after it as well.
#[inline(always)]
fn first(numbers: &Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, numbers.len());
    while low < high {
        let middle = low.midpoint(high);
        if holds(numbers.start + middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
