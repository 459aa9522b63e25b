//! A chunk of keys: where its codes and scales lie in the cache, and what all queries need of the scales. Walked by
//! [`super::bytes`]; the technique `sage_attention` makes chunks of codes of its own.

use super::places::Places;
use crate::kv::fit::SPAN;
use crate::ops::attention::head::{CodeGroup, Head};
use crate::ops::attention::stream::{GROUP, prefetch};
use crate::simd::{Dots, log2_below};

/// Keys between two corrections of the running maximum. Sums of 128 products of bytes fit into 24 bits.
pub const CHUNK: usize = 128;
const _: () = assert!(CHUNK == SPAN, "a chunk lies within one span of angles");
/// Groups of a chunk.
pub const GROUPS: usize = CHUNK / GROUP;
/// What a weight and a value scale of 1 become. Less than 255 by what [`log2_below`] leaves out.
pub const LARGEST: f32 = 240.0;
/// Least logarithm of a value's scale that is not zero; weights relative to it, and sums of a million of them,
/// are in the range of f32.
const LEAST_LOG: f32 = -107.0;

/// Up to [`CHUNK`] keys and where their groups lie. Behind the last group another is repeated, so that whole
/// tiles of groups can be read.
pub struct Chunk {
    /// The first key.
    pub start: usize,
    /// How many there are, up to the next multiple of [`CHUNK`] at most.
    pub count: usize,
    /// Their groups.
    pub groups: [CodeGroup; GROUPS],
    /// `[head_dim_v]`: scales of the values, one per channel for the whole chunk; null where each token has one, with its group.
    pub channels: *const f32,
}

impl Chunk {
    /// No keys.
    pub const NONE: Chunk = Chunk { start: 0, count: 0, groups: [CodeGroup::NONE; GROUPS], channels: std::ptr::null() };

    /// The key after the last.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.start + self.count
    }

    /// Keys of the chunk that begins with `start`, of which the last is before `end`.
    #[inline(always)]
    pub fn len_at(start: usize, end: usize) -> usize {
        end.min((start / CHUNK + 1) * CHUNK) - start.min(end)
    }

    /// # Safety
    /// `start..end` must be in the cache.
    #[inline(always)]
    pub(super) unsafe fn at(head: &Head<'_>, start: usize, end: usize) -> Self {
        let mut chunk = Chunk { start, count: Self::len_at(start, end), ..Self::NONE };
        if chunk.count == 0 {
            return chunk;
        }
        let mut group = 0;
        while group < GROUPS {
            let within = if group * GROUP < chunk.count { group } else { 0 };
            // SAFETY: the caller's promise.
            chunk.groups[group] = unsafe { head.codes(start + within * GROUP) };
            group += 1;
        }
        chunk
    }

    /// Asks for the scales; the codes are asked for while this chunk's are used.
    #[inline(always)]
    pub(super) unsafe fn fetch_scales(&self) {
        let mut group = 0;
        while group * GROUP < self.count {
            // SAFETY: a hint, which never faults.
            unsafe {
                prefetch(self.groups[group].key_scales.cast(), 1);
                prefetch(self.groups[group].value_scales.cast(), 1);
            }
            group += 1;
        }
    }

    /// What all queries need of the scales; keys after the end of the chunk get harmless ones. Returns 0, or NaN where each
    /// channel has a scale and one of them, or of the keys', is not a number.
    #[inline(always)]
    pub(super) unsafe fn scales<V: Dots>(&self, head_dim_v: usize, places: &Places) -> f32 {
        // SAFETY: as in `bytes`.
        unsafe {
            let (zero, mut fault) = (V::splat(0.0), V::splat(0.0));
            let mut i = 0;
            while i < CHUNK {
                let (group, at) = (i / GROUP, i % GROUP);
                let count = self.count.saturating_sub(i).min(V::LEN);
                let key = V::load_part(self.groups[group].key_scales.add(at), count);
                if self.channels.is_null() {
                    let value = V::load_part(self.groups[group].value_scales.add(at), count);
                    // A value that is not a number makes its score none.
                    value.mul_add(zero, key).store(places.key_scale.add(i));
                    V::splat(LEAST_LOG).max(log2_below(value)).store(places.value_log.add(i));
                    value.mul(V::splat(LARGEST)).store(places.value_factor.add(i));
                } else {
                    key.store(places.key_scale.add(i));
                    zero.store(places.value_log.add(i));
                    fault = key.mul_add(zero, fault);
                }
                i += V::LEN;
            }
            let mut i = 0;
            while i < head_dim_v && !self.channels.is_null() {
                fault = V::load(self.channels.add(i)).mul_add(zero, fault);
                i += V::LEN;
            }
            fault.sum()
        }
    }
}
