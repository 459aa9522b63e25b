//! Where a worker keeps what one pass over a quantised cache needs: one piece of scratch memory, cut into arrays.
//! [`super::Pass`] cuts it, [`super::chunk`] and [`super::step`] fill and read it.

use super::chunk::CHUNK;
use crate::ops::attention::{Desc, partial_len};

/// Queries that go together through the inner loops, rounded up to a vector.
pub const SOME: usize = 16;

/// Places in the scratch memory of a worker. `most` is the number of pairs of the largest pass.
#[derive(Clone, Copy)]
pub struct Places {
    /// `[most, partial_len]`: per pair the sums of values `[head_dim_v]`, running maximum, sum of weights.
    pub(super) partial: *mut f32,
    /// `[most + SOME]` each: running maximum, sum of weights; scale of the query's codes, its score with the mean that
    /// keys have lost; `-offset · Σ codes`.
    pub(super) maximum: *mut f32,
    pub(super) total: *mut f32,
    pub(super) query_scale: *mut f32,
    pub(super) query_bias: *mut f32,
    pub(super) query_offset: *mut i32,
    /// `[SOME]` each: factors on the sums so far, and on those of the chunk.
    pub(super) old: *mut f32,
    pub(super) new: *mut f32,
    /// `[CHUNK]` each: scale of keys; logarithm of the scale of values; factor that makes bytes of weights.
    pub(super) key_scale: *mut f32,
    pub(super) value_log: *mut f32,
    pub(super) value_factor: *mut f32,
    /// `[SOME, CHUNK]`: scores.
    pub(super) scores: *mut f32,
    /// `[SOME, CHUNK]` bytes.
    pub(super) weights: *mut u8,
    /// `[most, head_dim_k]` bytes: codes of queries.
    pub(super) q: *mut i8,
    /// `[most, head_dim_k]`: what cosines and sines of positions are multiplied with, for the share of a score that the
    /// keys' mean has (`kv/fit`); `[SOME, head_dim_k]`: the same, turned to the start of a span.
    pub(super) waves: *mut f32,
    pub(super) turned: *mut f32,
    /// `[head_dim_k]`: which of them there are.
    pub(super) rows: *mut u32,
}

/// Floats of scratch memory for passes of at most `most` pairs; the partial results, `[most, partial_len]`, stand first.
pub fn scratch_len(desc: &Desc, most: usize) -> usize {
    most * partial_len(desc)
        + 5 * (most + SOME)
        + 2 * SOME
        + 3 * CHUNK
        + SOME * CHUNK
        + SOME * CHUNK / 4
        + (most * desc.layout.head_dim_k).div_ceil(4)
        + (most + SOME + 1) * desc.layout.head_dim_k
}

impl Places {
    /// # Safety
    /// `scratch` must have [`scratch_len`] floats.
    #[inline(always)]
    pub(super) unsafe fn within(scratch: *mut f32, desc: &Desc, most: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let maximum = scratch.add(most * partial_len(desc));
            let per_query = |n: usize| maximum.add(n * (most + SOME));
            let (total, query_scale, query_bias, query_offset) =
                (per_query(1), per_query(2), per_query(3), per_query(4));
            let old = per_query(5);
            let (new, key_scale) = (old.add(SOME), old.add(2 * SOME));
            let (value_log, value_factor) = (key_scale.add(CHUNK), key_scale.add(2 * CHUNK));
            let scores = key_scale.add(3 * CHUNK);
            let weights = scores.add(SOME * CHUNK);
            let dim = desc.layout.head_dim_k;
            let q = weights.add(SOME * CHUNK / 4);
            let waves = q.add((most * dim).div_ceil(4));
            let turned = waves.add(most * dim);
            Places {
                partial: scratch,
                maximum,
                total,
                query_scale,
                query_bias,
                query_offset: query_offset.cast(),
                old,
                new,
                key_scale,
                value_log,
                value_factor,
                scores,
                weights: weights.cast(),
                q: q.cast(),
                waves,
                turned,
                rows: turned.add(SOME * dim).cast(),
            }
        }
    }
}
