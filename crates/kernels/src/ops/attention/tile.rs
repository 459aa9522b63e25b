//! Attention of many pairs: both products as register-blocked matrix products.
//!
//! The pairs of a tile lie along the vector: queries are transposed once, scores come out as
//! `[key, pair]` and sums of values as `[dim, pair]`. So keys and values are used as they lie in the
//! cache, one broadcast value at a time, and the softmax (online, arXiv 2205.14135, algorithm 1) needs
//! no sums across a vector.
//!
//! A value that is not finite reaches every pair of its tile, also those that may not see its key
//! (0 · ∞ is NaN): other rows of the same sequence, never another sequence.

use std::ops::Range;

use super::element::{Element, F16, F32};
use super::head::Head;
use super::stream::{GROUP, LOWEST};
use super::{Desc, faults_of};
use crate::fault::Faults;
use crate::kv::KvType;
use crate::simd::{Lanes, exp2, tanh};

/// Pairs of a tile.
pub const PAIRS: usize = 64;
/// Keys between two corrections of the running maximum.
const CHUNK: usize = 64;
/// Vectors of pairs that go together through the inner loops.
const WIDE: usize = 2;

/// Places in the scratch memory of a worker.
#[derive(Clone, Copy)]
struct Places {
    /// `[head_dim_k, PAIRS]`: scaled queries.
    q: *mut f32,
    /// `[head_dim_v, PAIRS]`: sums of weighted values.
    sums: *mut f32,
    /// `[CHUNK, head_dim_k]`.
    keys: *mut f32,
    /// `[CHUNK, head_dim_v]`.
    values: *mut f32,
    /// `[CHUNK, PAIRS]`: scores, then weights.
    scores: *mut f32,
    /// `[PAIRS]` each: first and last visible key counted from the first key of the tile, running
    /// maximum, sum of weights, factor on the sums so far.
    first: *mut f32,
    last: *mut f32,
    maximum: *mut f32,
    total: *mut f32,
    correction: *mut f32,
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
/// The head must be bound to live memory, `scratch` have [`scratch_len`] floats, the CPU the features of `V`.
#[inline(always)]
pub unsafe fn tile<V: Lanes>(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults {
    let lanes = pairs.len().next_multiple_of(WIDE * V::LEN);
    let keys = head.keys(&pairs);
    // Keys that every pair sees need no mask.
    let all_see = head.visible(pairs.end - 1).start..head.visible(pairs.start).end;
    // SAFETY: the caller's promise; a tile has at most PAIRS lanes and a chunk at most CHUNK keys.
    unsafe {
        let places = Places::within(scratch, head.desc);
        begin(head, &pairs, &keys, lanes, &places);
        let mut start = keys.start;
        while start < keys.end {
            let chunk = start..keys.end.min(start + CHUNK);
            load::<V>(head, &chunk, &places);
            let masked = chunk.start < all_see.start || chunk.end > all_see.end;
            let mut lane = 0;
            while lane < lanes {
                if V::SUMS >= 16 {
                    columns::<V, 8>(head, chunk.start - keys.start, chunk.len(), masked, lane, &places);
                } else {
                    columns::<V, 4>(head, chunk.start - keys.start, chunk.len(), masked, lane, &places);
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
unsafe fn begin(head: &Head<'_>, pairs: &Range<usize>, keys: &Range<usize>, lanes: usize, places: &Places) {
    let (dim_k, dim_v) = (head.desc.layout.head_dim_k, head.desc.layout.head_dim_v);
    let factor = head.query_factor();
    // SAFETY: as in `tile`.
    unsafe {
        std::slice::from_raw_parts_mut(places.sums, PAIRS * dim_v).fill(0.0);
        let mut lane = 0;
        while lane < lanes {
            let pair = (pairs.start + lane).min(pairs.end - 1);
            let q = head.args.q.add(head.query(pair) * dim_k);
            let factor = if pairs.start + lane < pairs.end { factor } else { 0.0 };
            let mut i = 0;
            while i < dim_k {
                *places.q.add(i * PAIRS + lane) = *q.add(i) * factor;
                i += 1;
            }
            let visible = head.visible(pair);
            *places.first.add(lane) = (visible.start - keys.start) as f32;
            *places.last.add(lane) = (visible.end - 1 - keys.start) as f32;
            *places.maximum.add(lane) = LOWEST;
            *places.total.add(lane) = 0.0;
            lane += 1;
        }
    }
}

/// Converts a chunk of keys and values to f32; zeros follow up to a whole group, because whatever
/// stands there in the cache is multiplied by zero and must not be NaN.
#[inline(always)]
unsafe fn load<V: Lanes>(head: &Head<'_>, chunk: &Range<usize>, places: &Places) {
    let layout = &head.desc.layout;
    let (dim_k, dim_v) = (layout.head_dim_k, layout.head_dim_v);
    // SAFETY: as in `tile`; the chunk starts with a group.
    unsafe {
        let mut n = 0;
        while n < chunk.len() {
            let count = (chunk.len() - n).min(GROUP);
            let (keys, values) = head.stored(chunk.start + n);
            let (to_keys, to_values) = (places.keys.add(n * dim_k), places.values.add(n * dim_v));
            match layout.k {
                KvType::F16 => F16::widen::<V>(keys, count * dim_k, to_keys),
                KvType::F32 => F32::widen::<V>(keys, count * dim_k, to_keys),
            }
            match layout.v {
                KvType::F16 => F16::widen::<V>(values, count * dim_v, to_values),
                KvType::F32 => F32::widen::<V>(values, count * dim_v, to_values),
            }
            std::slice::from_raw_parts_mut(to_keys.add(count * dim_k), (GROUP - count) * dim_k).fill(0.0);
            std::slice::from_raw_parts_mut(to_values.add(count * dim_v), (GROUP - count) * dim_v).fill(0.0);
            n += GROUP;
        }
    }
}

/// One chunk of keys for `WIDE` vectors of pairs from `lane` on; `R` keys (then values of a vector)
/// are in registers at a time. `start` counts from the first key of the tile.
#[inline(always)]
unsafe fn columns<V: Lanes, const R: usize>(
    head: &Head<'_>,
    start: usize,
    count: usize,
    masked: bool,
    lane: usize,
    places: &Places,
) {
    let padded = count.next_multiple_of(R);
    // SAFETY: as in `tile`.
    unsafe {
        score::<V, R>(head, padded, lane, places);
        if head.cap() > 0.0 {
            cap::<V>(head.cap(), padded, lane, places);
        }
        if masked || padded > count {
            mask::<V>(start, padded, lane, places);
        }
        weights::<V>(padded, lane, places);
        sum_values::<V, R>(head, padded, lane, places);
    }
}

/// `scores[key, pair] = Σ keys[key, i] * q[i, pair]`.
#[inline(always)]
unsafe fn score<V: Lanes, const R: usize>(head: &Head<'_>, count: usize, lane: usize, places: &Places) {
    let dim = head.desc.layout.head_dim_k;
    // SAFETY: as in `tile`.
    unsafe {
        let mut n = 0;
        while n < count {
            let keys = places.keys.add(n * dim);
            let mut sums = [[V::splat(0.0); WIDE]; R];
            let mut i = 0;
            while i < dim {
                let q = places.q.add(i * PAIRS + lane);
                let q = [V::load(q), V::load(q.add(V::LEN))];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let key = V::splat(*keys.add(r * dim + i));
                    for (sum, q) in sums.iter_mut().zip(q) {
                        *sum = key.mul_add(q, *sum);
                    }
                }
                i += 1;
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (w, sum) in sums.into_iter().enumerate() {
                    sum.store(places.scores.add((n + r) * PAIRS + lane + w * V::LEN));
                }
            }
            n += R;
        }
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
unsafe fn weights<V: Lanes>(count: usize, lane: usize, places: &Places) {
    // SAFETY: as in `tile`.
    unsafe {
        let mut w = 0;
        while w < WIDE {
            let lane = lane + w * V::LEN;
            let before = V::load(places.maximum.add(lane));
            let mut maximum = before;
            let mut n = 0;
            while n < count {
                maximum = V::load(places.scores.add(n * PAIRS + lane)).max(maximum);
                n += 1;
            }
            let mut sum = V::splat(0.0);
            let mut n = 0;
            while n < count {
                let at = places.scores.add(n * PAIRS + lane);
                let weight = exp2(V::load(at).sub(maximum));
                weight.store(at);
                sum = sum.add(weight);
                n += 1;
            }
            let correction = exp2(before.sub(maximum));
            V::load(places.total.add(lane)).mul_add(correction, sum).store(places.total.add(lane));
            maximum.store(places.maximum.add(lane));
            correction.store(places.correction.add(lane));
            w += 1;
        }
    }
}

/// `sums[i, pair] = sums[i, pair] * correction[pair] + Σ values[key, i] * weights[key, pair]`.
#[inline(always)]
unsafe fn sum_values<V: Lanes, const R: usize>(head: &Head<'_>, count: usize, lane: usize, places: &Places) {
    let dim = head.desc.layout.head_dim_v;
    // SAFETY: as in `tile`.
    unsafe {
        let correction = places.correction.add(lane);
        let correction = [V::load(correction), V::load(correction.add(V::LEN))];
        let mut i = 0;
        while i < dim {
            let mut sums = [[V::splat(0.0); WIDE]; R];
            for (r, sums) in sums.iter_mut().enumerate() {
                let before = places.sums.add((i + r) * PAIRS + lane);
                for (w, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(before.add(w * V::LEN)).mul(correction[w]);
                }
            }
            let mut n = 0;
            while n < count {
                let weights = places.scores.add(n * PAIRS + lane);
                let weights = [V::load(weights), V::load(weights.add(V::LEN))];
                let values = places.values.add(n * dim + i);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*values.add(r));
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = value.mul_add(weight, *sum);
                    }
                }
                n += 1;
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (w, sum) in sums.into_iter().enumerate() {
                    sum.store(places.sums.add((i + r) * PAIRS + lane + w * V::LEN));
                }
            }
            i += R;
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
