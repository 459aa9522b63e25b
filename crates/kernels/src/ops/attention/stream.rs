//! Attention of few pairs: one pass over keys and values, each converted once for up to four pairs.
//!
//! Values of a head lie along the vector. Keys come in chunks of [`CHUNK`]: scores, online softmax
//! (arXiv 2205.14135, algorithm 1), weighted values. Meanwhile the next chunk is fetched from memory.

use std::ops::Range;

use super::element::{BF16, Element, F16, F32};
use super::head::Head;
use super::{Desc, partial_len};
use crate::kv::KvType;
use crate::simd::{Lanes, exp2, tanh};

/// Most pairs of one pass.
pub const PAIRS: usize = 16;
/// Keys between two corrections of the running maximum.
pub const CHUNK: usize = 64;
/// Keys that lie behind one another in memory.
pub const GROUP: usize = 16;
/// Keys whose scores are summed up together.
const TILE: usize = 4;
/// Vectors of a value that are summed up together.
const WIDE: usize = 4;
/// What the running maximum starts with: finite, so that its difference to -∞ is not NaN.
pub const LOWEST: f32 = f32::MIN;

/// Places in the scratch memory of a worker.
#[derive(Clone, Copy)]
struct Places {
    /// `[PAIRS, partial_len]`: per pair the sums of values `[head_dim_v]`, running maximum, sum of weights.
    partial: *mut f32,
    /// `[PAIRS, head_dim_k]`: scaled queries.
    q: *mut f32,
    /// `[PAIRS, CHUNK]`: scores, then weights.
    scores: *mut f32,
    /// `[PAIRS]`: factors on the sums so far.
    correction: *mut f32,
}

/// Floats of scratch memory; the partial results, `[PAIRS, partial_len]`, stand first.
pub fn scratch_len(desc: &Desc) -> usize {
    PAIRS * (partial_len(desc) + desc.layout.head_dim_k + CHUNK + 1)
}

/// All pairs of `head` over some of their keys; `keys` starts with a group. Leaves the partial
/// results at the start of `scratch`.
///
/// # Safety
/// The head must be bound to live memory, `scratch` have [`scratch_len`] floats, the CPU the features of `V`.
#[inline(always)]
pub unsafe fn stream<V: Lanes>(head: &Head<'_>, keys: Range<usize>, scratch: *mut f32) {
    let layout = &head.desc.layout;
    let (dim_k, dim_v) = (layout.head_dim_k, layout.head_dim_v);
    let (pairs, partial_len) = (head.num_pairs(), partial_len(head.desc));
    // SAFETY: the caller's promise.
    unsafe {
        let q = scratch.add(PAIRS * partial_len);
        let scores = q.add(PAIRS * dim_k);
        let places = Places { partial: scratch, q, scores, correction: scores.add(PAIRS * CHUNK) };
        let mut pair = 0;
        while pair < pairs {
            let from = head.args.q.add(head.query(pair) * dim_k);
            scale_into::<V>(from, head.query_factor(), places.q.add(pair * dim_k), dim_k);
            let partial = places.partial.add(pair * partial_len);
            std::slice::from_raw_parts_mut(partial, dim_v).fill(0.0);
            *partial.add(dim_v) = LOWEST;
            *partial.add(dim_v + 1) = 0.0;
            pair += 1;
        }
        let mut chunk = Chunk::at(head, keys.start, keys.end);
        while chunk.count > 0 {
            let next = Chunk::at(head, chunk.start + chunk.count, keys.end);
            match layout.k {
                KvType::F16 => score::<V, F16>(head, &places, &chunk, &next),
                KvType::Bf16 => score::<V, BF16>(head, &places, &chunk, &next),
                _ => score::<V, F32>(head, &places, &chunk, &next),
            }
            weights::<V>(head, &places, &chunk);
            match layout.v {
                KvType::F16 => sum_values::<V, F16>(head, &places, &chunk, &next),
                KvType::Bf16 => sum_values::<V, BF16>(head, &places, &chunk, &next),
                _ => sum_values::<V, F32>(head, &places, &chunk, &next),
            }
            chunk = next;
        }
    }
}

/// Up to [`CHUNK`] keys and where their groups lie.
struct Chunk {
    start: usize,
    count: usize,
    keys: [*const u8; CHUNK / GROUP],
    values: [*const u8; CHUNK / GROUP],
}

impl Chunk {
    const NONE: Chunk = Chunk {
        start: 0,
        count: 0,
        keys: [std::ptr::null(); CHUNK / GROUP],
        values: [std::ptr::null(); CHUNK / GROUP],
    };

    /// # Safety
    /// `start..end` must be in the cache.
    #[inline(always)]
    unsafe fn at(head: &Head<'_>, start: usize, end: usize) -> Self {
        let mut chunk = Chunk { start, count: (end - start).min(CHUNK), ..Self::NONE };
        let mut group = 0;
        while group * GROUP < chunk.count {
            // SAFETY: the caller's promise.
            (chunk.keys[group], chunk.values[group]) = unsafe { head.stored(start + group * GROUP) };
            group += 1;
        }
        chunk
    }

    /// Keys of one group.
    #[inline(always)]
    fn len(&self, group: usize) -> usize {
        self.count.saturating_sub(group * GROUP).min(GROUP)
    }
}

/// `out = from * factor`.
#[inline(always)]
unsafe fn scale_into<V: Lanes>(from: *const f32, factor: f32, out: *mut f32, len: usize) {
    // SAFETY: the callers' promise; lengths are multiples of the vector.
    unsafe {
        let mut i = 0;
        while i < len {
            V::load(from.add(i)).mul(V::splat(factor)).store(out.add(i));
            i += V::LEN;
        }
    }
}

/// Asks for `bytes` bytes that will be read soon.
///
/// # Safety
/// None is needed: a hint never faults.
#[inline(always)]
pub unsafe fn prefetch(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let mut i = 0;
        while i < bytes {
            // SAFETY: a hint, which never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(i).cast()) };
            i += 64;
        }
    }
}

/// Scores of all pairs and the keys of one chunk.
#[inline(always)]
unsafe fn score<V: Lanes, T: Element>(head: &Head<'_>, places: &Places, chunk: &Chunk, next: &Chunk) {
    let (dim, pairs) = (head.desc.layout.head_dim_k, head.num_pairs());
    let most = V::SUMS / TILE;
    // SAFETY: as in `stream`; whole tiles stay within a group, whose block is in the cache.
    unsafe {
        let mut group = 0;
        while group * GROUP < chunk.count {
            let mut pair = 0;
            while pair < pairs {
                let count = (pairs - pair).min(most);
                let mut key = 0;
                while key < chunk.len(group) {
                    let keys = chunk.keys[group].add(key * dim * T::BYTES);
                    if pair == 0 && key < next.len(group) {
                        prefetch(next.keys[group].add(key * dim * T::BYTES), TILE * dim * T::BYTES);
                    }
                    let q = places.q.add(pair * dim);
                    let out = places.scores.add(pair * CHUNK + group * GROUP + key);
                    match count {
                        1 => dots::<V, T, 1>(q, keys, dim, out),
                        2 => dots::<V, T, 2>(q, keys, dim, out),
                        3 => dots::<V, T, 3>(q, keys, dim, out),
                        _ => dots::<V, T, 4>(q, keys, dim, out),
                    }
                    key += TILE;
                }
                pair += count;
            }
            group += 1;
        }
    }
}

/// Dot products of `P` queries with four keys.
#[inline(always)]
unsafe fn dots<V: Lanes, T: Element, const P: usize>(q: *const f32, keys: *const u8, dim: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); TILE]; P];
        let mut i = 0;
        while i < dim {
            let mut k = [V::splat(0.0); TILE];
            for (n, k) in k.iter_mut().enumerate() {
                *k = T::load::<V>(keys, n * dim + i);
            }
            for (p, sums) in sums.iter_mut().enumerate() {
                let q = V::load(q.add(p * dim + i));
                for (sum, k) in sums.iter_mut().zip(k) {
                    *sum = q.mul_add(k, *sum);
                }
            }
            i += V::LEN;
        }
        for (p, sums) in sums.into_iter().enumerate() {
            V::store_sums(sums, out.add(p * CHUNK));
        }
    }
}

/// Scores to weights `2^(score - maximum)`; hidden keys get 0.
#[inline(always)]
unsafe fn weights<V: Lanes>(head: &Head<'_>, places: &Places, chunk: &Chunk) {
    let (dim_v, partial_len) = (head.desc.layout.head_dim_v, partial_len(head.desc));
    let end = chunk.count.next_multiple_of(GROUP);
    // SAFETY: as in `stream`.
    unsafe {
        let mut pair = 0;
        while pair < head.num_pairs() {
            let scores = places.scores.add(pair * CHUNK);
            let maximum = places.partial.add(pair * partial_len + dim_v);
            let cap = V::splat(head.cap());
            if head.cap() > 0.0 {
                let mut i = 0;
                while i < end {
                    cap.mul(tanh(V::load(scores.add(i)))).store(scores.add(i));
                    i += V::LEN;
                }
            }
            let visible = head.visible(pair);
            let from = visible.start.saturating_sub(chunk.start).min(end);
            let to = visible.end.saturating_sub(chunk.start).min(end);
            std::slice::from_raw_parts_mut(scores, from).fill(f32::NEG_INFINITY);
            std::slice::from_raw_parts_mut(scores.add(to), end - to).fill(f32::NEG_INFINITY);

            let mut largest = V::splat(*maximum);
            let mut i = 0;
            while i < end {
                largest = V::load(scores.add(i)).max(largest);
                i += V::LEN;
            }
            let largest = largest.largest();
            let mut sum = V::splat(0.0);
            let mut i = 0;
            while i < end {
                let weight = exp2(V::load(scores.add(i)).sub(V::splat(largest)));
                weight.store(scores.add(i));
                sum = sum.add(weight);
                i += V::LEN;
            }
            let correction = (*maximum - largest).exp2();
            *places.correction.add(pair) = correction;
            *maximum = largest;
            *maximum.add(1) = *maximum.add(1) * correction + sum.sum();
            pair += 1;
        }
    }
}

/// Adds the weighted values of one chunk to the sums of all pairs.
#[inline(always)]
unsafe fn sum_values<V: Lanes, T: Element>(head: &Head<'_>, places: &Places, chunk: &Chunk, next: &Chunk) {
    let (dim, pairs) = (head.desc.layout.head_dim_v, head.num_pairs());
    let partial_len = partial_len(head.desc);
    let most = V::SUMS / WIDE;
    // SAFETY: as in `stream`.
    unsafe {
        let mut pair = 0;
        while pair < pairs {
            let count = (pairs - pair).min(most);
            let weights = places.scores.add(pair * CHUNK);
            let correction = places.correction.add(pair);
            let mut i = 0;
            while i < dim {
                let sums = places.partial.add(pair * partial_len + i);
                let next = if pair == 0 { next } else { &Chunk::NONE };
                let piece = Piece { chunk, next, dim, offset: i, weights, correction, sums, partial_len };
                let wide = i + WIDE * V::LEN <= dim;
                match (count, wide) {
                    (1, true) => piece.sum::<V, T, 1, WIDE>(),
                    (2, true) => piece.sum::<V, T, 2, WIDE>(),
                    (3, true) => piece.sum::<V, T, 3, WIDE>(),
                    (_, true) => piece.sum::<V, T, 4, WIDE>(),
                    (1, false) => piece.sum::<V, T, 1, 1>(),
                    (2, false) => piece.sum::<V, T, 2, 1>(),
                    (3, false) => piece.sum::<V, T, 3, 1>(),
                    (_, false) => piece.sum::<V, T, 4, 1>(),
                }
                i += if wide { WIDE * V::LEN } else { V::LEN };
            }
            pair += count;
        }
    }
}

/// Part of the values of a chunk, and the sums that take it.
struct Piece<'a> {
    chunk: &'a Chunk,
    /// Fetched meanwhile.
    next: &'a Chunk,
    dim: usize,
    offset: usize,
    weights: *const f32,
    correction: *const f32,
    sums: *mut f32,
    partial_len: usize,
}

impl Piece<'_> {
    /// `P` pairs and `W` vectors at once.
    #[inline(always)]
    unsafe fn sum<V: Lanes, T: Element, const P: usize, const W: usize>(&self) {
        // SAFETY: as in `stream`.
        unsafe {
            let mut sums = [[V::splat(0.0); W]; P];
            for (p, sums) in sums.iter_mut().enumerate() {
                let correction = V::splat(*self.correction.add(p));
                for (w, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(self.sums.add(p * self.partial_len + w * V::LEN)).mul(correction);
                }
            }
            let mut group = 0;
            while group * GROUP < self.chunk.count {
                let values = self.chunk.values[group].add(self.offset * T::BYTES);
                let weights = self.weights.add(group * GROUP);
                let next = self.next.values[group].wrapping_add(self.offset * T::BYTES);
                let next_len = self.next.len(group);
                let mut key = 0;
                while key < self.chunk.len(group) {
                    if key < next_len {
                        prefetch(next.wrapping_add(key * self.dim * T::BYTES), W * V::LEN * T::BYTES);
                    }
                    let mut v = [V::splat(0.0); W];
                    for (w, v) in v.iter_mut().enumerate() {
                        *v = T::load::<V>(values, key * self.dim + w * V::LEN);
                    }
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let weight = V::splat(*weights.add(p * CHUNK + key));
                        for (sum, v) in sums.iter_mut().zip(v) {
                            *sum = weight.mul_add(v, *sum);
                        }
                    }
                    key += 1;
                }
                group += 1;
            }
            for (p, sums) in sums.into_iter().enumerate() {
                for (w, sum) in sums.into_iter().enumerate() {
                    sum.store(self.sums.add(p * self.partial_len + w * V::LEN));
                }
            }
        }
    }
}
