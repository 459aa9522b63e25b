//! Attention of many pairs: both products as register-blocked matrix products.
//!
//! The pairs of a tile lie along the vector: queries are transposed once, scores come out as
//! `[key, pair]` and sums of values as `[dim, pair]`. So keys and values are used as they lie in the
//! cache, one broadcast value at a time, and the softmax (online, arXiv 2205.14135, algorithm 1) needs
//! no sums across a vector. Here stands what all arithmetics share: the walk over chunks of keys and the
//! softmax. The products are [`Products`]: in f32 (`tile_f32`) or bfloat16 (`tile_bf16`).
//!
//! A value that is not finite reaches every pair of its tile, also those that may not see its key
//! (0 · ∞ is NaN): other rows of the same sequence, never another sequence.

use std::ops::Range;

use super::head::Head;
use super::stream::LOWEST;
use super::{Desc, faults_of};
use crate::fault::Faults;
use crate::simd::{Lanes, exp2, tanh};

/// Pairs of a tile.
pub const PAIRS: usize = 128;
/// Keys between two corrections of the running maximum.
pub const CHUNK: usize = 64;
/// Vectors of pairs that go together through the inner loops.
pub const WIDE: usize = 2;

/// The arithmetic of both products, and the form of what goes into them.
///
/// # Safety
/// Every function requires that the head is bound to live memory, that the places have [`scratch_len`]
/// floats, and that the CPU has the features of the implementing type and of `V`.
pub trait Products<V: Lanes> {
    /// Keys whose scores are computed together: an even number that divides 16.
    const KEYS: usize;

    /// Writes `q[.., lane]`: the query of one pair times `factor`.
    unsafe fn query(dim: usize, from: *const f32, factor: f32, lane: usize, places: &Places);
    /// Brings a chunk of keys and values into the form of the products; zeros follow up to a whole group,
    /// because whatever stands there in the cache is multiplied by zero and must not be NaN.
    unsafe fn load(head: &Head<'_>, chunk: &Range<usize>, places: &Places);
    /// `scores[key, pair] = Σ keys[key, i] * q[i, pair]` for `WIDE` vectors of pairs from `lane` on.
    unsafe fn score(dim: usize, count: usize, lane: usize, places: &Places);
    /// `2^x` as exactly as the products deserve.
    unsafe fn exp2(x: V) -> V;
    /// `sums[i, pair] = sums[i, pair] * correction[pair] + Σ values[key, i] * weights[key, pair]`; the weights
    /// stand where the scores stood, and may be overwritten.
    unsafe fn sum_values(dim: usize, count: usize, lane: usize, places: &Places);
}

/// Places in the scratch memory of a worker. Products in fewer bits use a part of theirs.
#[derive(Clone, Copy)]
pub struct Places {
    /// `[head_dim_k, PAIRS]`: scaled queries.
    pub q: *mut f32,
    /// `[head_dim_v, PAIRS]`: sums of weighted values.
    pub sums: *mut f32,
    /// `[CHUNK, head_dim_k]`.
    pub keys: *mut f32,
    /// `[CHUNK, head_dim_v]`.
    pub values: *mut f32,
    /// `[CHUNK, PAIRS]`: scores, then weights.
    pub scores: *mut f32,
    /// `[PAIRS]` each: first and last visible key counted from the first key of the tile, running
    /// maximum, sum of weights, factor on the sums so far.
    first: *mut f32,
    last: *mut f32,
    maximum: *mut f32,
    total: *mut f32,
    pub correction: *mut f32,
}

/// Floats of scratch memory.
pub fn scratch_len(desc: &Desc) -> usize {
    let (dim_k, dim_v) = (desc.layout.head_dim_k, desc.layout.head_dim_v);
    (PAIRS + CHUNK) * (dim_k + dim_v) + CHUNK * PAIRS + 5 * PAIRS
}

impl Places {
    /// # Safety
    /// `scratch` must have [`scratch_len`] floats.
    #[inline(always)]
    unsafe fn within(scratch: *mut f32, desc: &Desc) -> Self {
        let (dim_k, dim_v) = (desc.layout.head_dim_k, desc.layout.head_dim_v);
        // SAFETY: the caller's promise.
        unsafe {
            let sums = scratch.add(PAIRS * dim_k);
            let keys = sums.add(PAIRS * dim_v);
            let values = keys.add(CHUNK * dim_k);
            let scores = values.add(CHUNK * dim_v);
            let first = scores.add(CHUNK * PAIRS);
            let (last, maximum) = (first.add(PAIRS), first.add(2 * PAIRS));
            let (total, correction) = (first.add(3 * PAIRS), first.add(4 * PAIRS));
            Places { q: scratch, sums, keys, values, scores, first, last, maximum, total, correction }
        }
    }
}

/// Up to [`PAIRS`] pairs over all the keys they see, to the output. Returns what is wrong with them.
///
/// # Safety
/// As the functions of [`Products`]; `scratch` must have [`scratch_len`] floats.
#[inline(always)]
pub unsafe fn tile<V: Lanes, P: Products<V>>(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults {
    let keys = head.keys(&pairs);
    // SAFETY: the caller's promise; a tile has at most PAIRS lanes and a chunk at most CHUNK keys.
    unsafe {
        let places = Places::within(scratch, head.desc);
        begin::<V, P>(head, &pairs, &keys, &places);
        let mut start = keys.start;
        while start < keys.end {
            // Chunks have the same bounds for all tiles, so that results do not depend on how pairs are cut.
            let chunk = start..keys.end.min((start / CHUNK + 1) * CHUNK);
            P::load(head, &chunk, &places);
            let mut lane = 0;
            while lane < pairs.len() {
                let some = pairs.start + lane..pairs.end.min(pairs.start + lane + WIDE * V::LEN);
                let (oldest, newest) = (head.visible(some.start), head.visible(some.end - 1));
                // Keys after all of these pairs, or before all of their windows, do nothing.
                let end = chunk.end.min(newest.end);
                if start < end && oldest.start < end {
                    let masked = start < newest.start || end > oldest.end;
                    columns::<V, P>(head, start - keys.start, end - start, masked, lane, &places);
                }
                lane += WIDE * V::LEN;
            }
            start = chunk.end;
        }
        finish(head, &pairs, &places)
    }
}

/// Transposes the queries and clears the sums. Unused lanes repeat the last pair with a zero query.
#[inline(always)]
unsafe fn begin<V: Lanes, P: Products<V>>(head: &Head<'_>, pairs: &Range<usize>, keys: &Range<usize>, places: &Places) {
    let (dim_k, dim_v) = (head.desc.layout.head_dim_k, head.desc.layout.head_dim_v);
    // SAFETY: as in `tile`.
    unsafe {
        std::slice::from_raw_parts_mut(places.sums, PAIRS * dim_v).fill(0.0);
        let mut lane = 0;
        while lane < pairs.len().next_multiple_of(WIDE * V::LEN) {
            let pair = (pairs.start + lane).min(pairs.end - 1);
            let factor = if pairs.start + lane < pairs.end { head.query_factor() } else { 0.0 };
            P::query(dim_k, head.args.q.add(head.query(pair) * dim_k), factor, lane, places);
            let visible = head.visible(pair);
            *places.first.add(lane) = visible.start as f32 - keys.start as f32;
            *places.last.add(lane) = (visible.end - 1 - keys.start) as f32;
            *places.maximum.add(lane) = LOWEST;
            *places.total.add(lane) = 0.0;
            lane += 1;
        }
    }
}

/// One chunk of keys for `WIDE` vectors of pairs from `lane` on. `start` counts from the first key of the
/// tile.
#[inline(always)]
unsafe fn columns<V: Lanes, P: Products<V>>(
    head: &Head<'_>,
    start: usize,
    count: usize,
    masked: bool,
    lane: usize,
    places: &Places,
) {
    let padded = count.next_multiple_of(P::KEYS);
    // SAFETY: as in `tile`.
    unsafe {
        P::score(head.desc.layout.head_dim_k, padded, lane, places);
        if head.cap() > 0.0 {
            cap::<V>(head.cap(), padded, lane, places);
        }
        if masked || padded > count {
            mask::<V>(start, padded, lane, places);
        }
        weights::<V, P>(padded, lane, places);
        P::sum_values(head.desc.layout.head_dim_v, padded, lane, places);
    }
}

/// `score = cap * tanh(score)`.
#[inline(always)]
unsafe fn cap<V: Lanes>(cap: f32, count: usize, lane: usize, places: &Places) {
    // SAFETY: as in `tile`.
    unsafe {
        let mut n = 0;
        while n < WIDE * count {
            let at = places.scores.add(n / WIDE * PAIRS + lane + n % WIDE * V::LEN);
            V::splat(cap).mul(tanh(V::load(at))).store(at);
            n += 1;
        }
    }
}

/// Hides keys that come after a pair's position, or before its window.
#[inline(always)]
unsafe fn mask<V: Lanes>(start: usize, count: usize, lane: usize, places: &Places) {
    // SAFETY: as in `tile`.
    unsafe {
        let hidden = V::splat(f32::NEG_INFINITY);
        let mut w = 0;
        while w < WIDE {
            let lane = lane + w * V::LEN;
            let (first, last) = (V::load(places.first.add(lane)), V::load(places.last.add(lane)));
            let mut n = 0;
            while n < count {
                let at = places.scores.add(n * PAIRS + lane);
                let key = V::splat((start + n) as f32);
                let score = key.where_less(first, hidden, V::load(at));
                last.where_less(key, hidden, score).store(at);
                n += 1;
            }
            w += 1;
        }
    }
}

/// Scores to weights `2^(score - maximum)`, with maximum, total and correction brought up to date.
#[inline(always)]
unsafe fn weights<V: Lanes, P: Products<V>>(count: usize, lane: usize, places: &Places) {
    // SAFETY: as in `tile`.
    unsafe {
        let mut w = 0;
        while w < WIDE {
            let lane = lane + w * V::LEN;
            let before = V::load(places.maximum.add(lane));
            // Two of each, because one would wait for itself.
            let mut maximum = [before; 2];
            let mut n = 0;
            while n < count {
                for (i, maximum) in maximum.iter_mut().enumerate() {
                    *maximum = V::load(places.scores.add((n + i) * PAIRS + lane)).max(*maximum);
                }
                n += 2;
            }
            let maximum = maximum[0].max(maximum[1]);
            let mut sum = [V::splat(0.0); 2];
            let mut n = 0;
            while n < count {
                for (i, sum) in sum.iter_mut().enumerate() {
                    let at = places.scores.add((n + i) * PAIRS + lane);
                    let weight = P::exp2(V::load(at).sub(maximum));
                    weight.store(at);
                    *sum = sum.add(weight);
                }
                n += 2;
            }
            let correction = exp2(before.sub(maximum));
            let total = V::load(places.total.add(lane));
            total.mul_add(correction, sum[0].add(sum[1])).store(places.total.add(lane));
            maximum.store(places.maximum.add(lane));
            correction.store(places.correction.add(lane));
            w += 1;
        }
    }
}

/// Sums over total, transposed back to the output.
#[inline(always)]
unsafe fn finish(head: &Head<'_>, pairs: &Range<usize>, places: &Places) -> Faults {
    let dim = head.desc.layout.head_dim_v;
    let mut faults = Faults::NONE;
    // SAFETY: as in `tile`; this worker alone writes these outputs.
    unsafe {
        let mut lane = 0;
        while lane < pairs.len() {
            let out = head.args.out.add(head.query(pairs.start + lane) * dim);
            let total = *places.total.add(lane);
            faults = faults.and(faults_of(total.into()));
            let inverse = 1.0 / total;
            let mut i = 0;
            while i < dim {
                *out.add(i) = *places.sums.add(i * PAIRS + lane) * inverse;
                i += 1;
            }
            lane += 1;
        }
    }
    faults
}
