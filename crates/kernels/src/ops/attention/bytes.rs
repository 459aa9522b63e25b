//! Attention over a quantised cache: both products as exact dot products of bytes (INT-FlashAttention,
//! arXiv 2409.16997, for decoding and prefill alike).
//!
//! Keys lie along the vector for scores, values of a head for sums, as the blocks of the cache have them
//! (`kv/code`): codes go from the cache into the registers. A query gets codes of its own, with one scale.
//!
//! A weight and the scale of its value become one unsigned byte, `p · scale / 2^maximum · 240`, relative to
//! the largest in its chunk of keys. Bytes are made with a fixed pattern of offsets in -0.5..0.5 (dither), so
//! that of many weights too small for a code of their own the right part is counted: plain rounding would
//! drop a flat tail beside a peak altogether, while the sum of weights, which stays f32, kept it.

use std::ops::Range;

use super::head::{CodeGroup, Head};
use super::stream::{GROUP, LOWEST, prefetch};
use super::{Desc, partial_len};
use crate::kv::{self, KvType, hadamard};
use crate::simd::{Avx2, Avx512, Dots, exp2, exp2_rough, log2_below, tanh};

/// Keys between two corrections of the running maximum. Sums of 128 products of bytes fit into 24 bits.
pub const CHUNK: usize = 128;
/// Groups of a chunk.
pub const GROUPS: usize = CHUNK / GROUP;
/// Most queries of one pass over a quantised cache.
pub const PAIRS: usize = 128;
/// Queries that go together through the inner loops, rounded up to a vector.
const SOME: usize = 16;
/// What a weight and a value scale of 1 become. Less than 255 by what [`log2_below`] leaves out.
const LARGEST: f32 = 240.0;
/// Least logarithm of a value's scale that is not zero; weights relative to it, and sums of a million of them,
/// are in the range of f32.
const LEAST_LOG: f32 = -107.0;

/// Added to a byte before it is rounded, by the position of its key modulo [`CHUNK`]: multiples of the golden ratio, whose
/// parts of any length are spread evenly.
const DITHER: [f32; CHUNK] = {
    let mut dither = [0f32; CHUNK];
    let mut n = 0;
    while n < CHUNK {
        let turns = (n as u32).wrapping_mul(0x9e37_79b9).wrapping_add(1 << 31) >> 8; // 0 for the first
        dither[n] = (turns as f32 / (1 << 24) as f32 - 0.5) * 0.999;
        n += 1;
    }
    dither
};

/// Places in the scratch memory of a worker. `most` is the number of pairs of the largest pass.
#[derive(Clone, Copy)]
struct Places {
    /// `[most, partial_len]`: per pair the sums of values `[head_dim_v]`, running maximum, sum of weights.
    partial: *mut f32,
    /// `[most + SOME]` each: running maximum, sum of weights; scale of the query's codes, its score with the mean that
    /// keys have lost; `-offset · Σ codes`.
    maximum: *mut f32,
    total: *mut f32,
    query_scale: *mut f32,
    query_bias: *mut f32,
    query_offset: *mut i32,
    /// `[SOME]` each: factors on the sums so far, and on those of the chunk.
    old: *mut f32,
    new: *mut f32,
    /// `[CHUNK]` each: scale of keys; logarithm of the scale of values; factor that makes bytes of weights.
    key_scale: *mut f32,
    value_log: *mut f32,
    value_factor: *mut f32,
    /// `[SOME, CHUNK]`: scores.
    scores: *mut f32,
    /// `[SOME, CHUNK]` bytes.
    weights: *mut u8,
    /// `[most, head_dim_k]` bytes: codes of queries.
    q: *mut i8,
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
}

impl Places {
    /// # Safety
    /// `scratch` must have [`scratch_len`] floats.
    #[inline(always)]
    unsafe fn within(scratch: *mut f32, desc: &Desc, most: usize) -> Self {
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
                q: weights.add(SOME * CHUNK / 4).cast(),
            }
        }
    }
}

/// Some pairs of `head` over some keys of a quantised cache; `keys` starts with a group. Leaves the partial
/// results at the start of `scratch`.
///
/// # Safety
/// As [`Pass`], with [`PAIRS`] pairs at most.
#[inline(always)]
pub unsafe fn bytes<V: Compiled>(head: &Head<'_>, pairs: Range<usize>, keys: Range<usize>, scratch: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let pass = Pass::begin(head, pairs, &[], scratch, PAIRS);
        let mut chunk = Chunk::at(head, keys.start, keys.end);
        while chunk.count > 0 {
            let next = Chunk::at(head, chunk.end(), keys.end);
            next.fetch_scales();
            pass.chunk::<V>(&chunk, &next);
            chunk = next;
        }
        pass.end();
    }
}

/// Some pairs of a head on their way through the keys, chunk by chunk.
///
/// # Safety
/// The head must be bound to live memory, the scratch memory have [`scratch_len`] floats, chunks point to codes and
/// scales of whole groups, the CPU have the features of `V`; there must be at most `most` pairs.
pub struct Pass<'a> {
    head: &'a Head<'a>,
    pairs: Range<usize>,
    places: Places,
}

impl<'a> Pass<'a> {
    /// Makes codes of the rotated queries and clears the sums. `mean`, `[head_dim_k]` or empty, is what the keys have lost
    /// before they were rotated and codes made of them: their scores get `q · mean` back.
    ///
    /// # Safety
    /// See [`Pass`].
    #[inline(always)]
    pub unsafe fn begin(head: &'a Head<'a>, pairs: Range<usize>, mean: &[f32], scratch: *mut f32, most: usize) -> Self {
        let (dim_v, partial_len) = (head.desc.layout.head_dim_v, partial_len(head.desc));
        // SAFETY: the caller's promise.
        unsafe {
            let places = Places::within(scratch, head.desc, most);
            let mut pair = 0;
            while pair < pairs.len() {
                query(head, pairs.start + pair, mean, pair, &places);
                std::slice::from_raw_parts_mut(places.partial.add(pair * partial_len), dim_v).fill(0.0);
                *places.maximum.add(pair) = LOWEST;
                *places.total.add(pair) = 0.0;
                pair += 1;
            }
            Pass { head, pairs, places }
        }
    }

    /// One chunk of keys; `next` is fetched meanwhile.
    ///
    /// # Safety
    /// See [`Pass`].
    #[inline(always)]
    pub unsafe fn chunk<V: Compiled>(&self, chunk: &Chunk, next: &Chunk) {
        let Pass { head, pairs, places } = self;
        // SAFETY: the caller's promise.
        unsafe {
            chunk.scales::<V>(places);
            let mut pair = 0;
            while pair < pairs.len() {
                let count = together::<V>(pairs.len() - pair);
                let first = pairs.start + pair;
                let (oldest, newest) = (head.visible(first), head.visible(first + count - 1));
                // Keys after all of these pairs, or before all of their windows, do nothing.
                let end = chunk.end().min(newest.end);
                if chunk.start < end && oldest.start < end {
                    let groups = (end - chunk.start).div_ceil(GROUP);
                    let next = if pair == 0 { next } else { &Chunk::NONE };
                    let step = Step { head, places, chunk, next, groups, pair, first };
                    if V::QUERIES == 2 {
                        match count {
                            1 => step.run::<V, 1>(),
                            _ => step.run::<V, 2>(),
                        }
                    } else {
                        match count {
                            1 => step.run::<V, 1>(),
                            2 => step.run::<V, 2>(),
                            3 => step.run::<V, 3>(),
                            4 => step.run::<V, 4>(),
                            _ => step.run::<V, 6>(),
                        }
                    }
                }
                pair += count;
            }
        }
    }

    /// Leaves the partial results at the start of the scratch memory.
    ///
    /// # Safety
    /// See [`Pass`].
    #[inline(always)]
    pub unsafe fn end(&self) {
        let Pass { head, pairs, places } = self;
        let (dim_v, partial_len) = (head.desc.layout.head_dim_v, partial_len(head.desc));
        let mut pair = 0;
        while pair < pairs.len() {
            // SAFETY: the caller's promise.
            unsafe {
                let partial = places.partial.add(pair * partial_len);
                *partial.add(dim_v) = *places.maximum.add(pair);
                *partial.add(dim_v + 1) = *places.total.add(pair);
            }
            pair += 1;
        }
    }
}

/// How many of the pairs that are left go together: one of the sizes that are compiled, and no single one left
/// over where it can be helped.
#[inline(always)]
fn together<V: Dots>(left: usize) -> usize {
    match left {
        _ if V::QUERIES == 2 => left.min(2),
        5 => 3,
        7 => 4,
        _ => left.min(6),
    }
}

/// The inner loops as functions of their own, compiled with the features that `Self` needs: inlined into one
/// another all their forms would take minutes to compile.
///
/// # Safety
/// As [`bytes`].
#[expect(clippy::missing_safety_doc, reason = "said once, above, for all functions")]
pub trait Compiled: Dots {
    /// See [`Step::score`].
    unsafe fn score<const P: usize, const FOUR: bool>(step: &Step<'_>);
    /// See [`Step::weights`].
    unsafe fn weights<const P: usize>(step: &Step<'_>);
    /// See [`Step::sum_values`]; [`Dots::WIDE`] vectors of all pairs.
    unsafe fn sum_values<const P: usize, const FOUR: bool>(step: &Step<'_>, i: usize);
    /// As little as possible of one pair, given its index among those of the step.
    unsafe fn sum_rest<const FOUR: bool>(step: &Step<'_>, pair: usize, i: usize);
}

/// [`Compiled`] for a type of vectors.
macro_rules! compiled {
    ($type:ty, $wide:literal, $features:literal) => {
        impl Compiled for $type {
            #[target_feature(enable = $features)]
            unsafe fn score<const P: usize, const FOUR: bool>(step: &Step<'_>) {
                // SAFETY: the caller's promise; the features are enabled above, as they are below.
                unsafe { step.score::<Self, P, $wide, FOUR>() }
            }

            #[target_feature(enable = $features)]
            unsafe fn weights<const P: usize>(step: &Step<'_>) {
                // SAFETY: as above.
                unsafe { step.weights::<Self, P>() }
            }

            #[target_feature(enable = $features)]
            unsafe fn sum_values<const P: usize, const FOUR: bool>(step: &Step<'_>, i: usize) {
                // SAFETY: as above.
                unsafe { step.sum_values::<Self, P, $wide, FOUR>(0, i) }
            }

            #[target_feature(enable = $features)]
            unsafe fn sum_rest<const FOUR: bool>(step: &Step<'_>, pair: usize, i: usize) {
                // SAFETY: as above.
                unsafe {
                    if FOUR {
                        step.sum_values::<Self, 1, 2, true>(pair, i)
                    } else {
                        step.sum_values::<Self, 1, 1, false>(pair, i)
                    }
                }
            }
        }
    };
}

compiled!(Avx512, 4, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");
compiled!(Avx2, 2, "avx2,fma,f16c");

/// Codes of one query, rotated like the keys, and its score with their mean.
#[inline(always)]
unsafe fn query(head: &Head<'_>, pair: usize, mean: &[f32], at: usize, places: &Places) {
    let (dim, k) = (head.desc.layout.head_dim_k, head.desc.layout.k);
    // SAFETY: as in `bytes`.
    unsafe {
        let q = std::slice::from_raw_parts(head.args.q.add(head.query(pair) * dim), dim);
        let bias: f32 = q.iter().zip(mean).map(|(q, mean)| q * mean).sum();
        *places.query_bias.add(at) = bias * head.query_factor();
        let mut rotated = [0f32; kv::MAX_ROTATED];
        let rotated = &mut rotated[..dim];
        rotated.copy_from_slice(q);
        hadamard(rotated);
        let codes = std::slice::from_raw_parts_mut(places.q.add(at * dim), dim);
        let scale = kv::codes(rotated, codes);
        let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
        *places.query_scale.add(at) = scale * head.query_factor();
        let bias: f32 = q.iter().zip(mean).map(|(q, mean)| q * mean).sum();
        *places.query_bias.add(at) = bias * head.query_factor();
        *places.query_offset.add(at) = -k.key_offset() * sum;
    }
}

/// Up to [`CHUNK`] keys and where their groups lie. Behind the last group another is repeated, so that whole
/// tiles of groups can be read.
pub struct Chunk {
    /// The first key.
    pub start: usize,
    /// How many there are, up to the next multiple of [`CHUNK`] at most.
    pub count: usize,
    /// Their groups.
    pub groups: [CodeGroup; GROUPS],
}

impl Chunk {
    /// No keys.
    pub const NONE: Chunk = Chunk { start: 0, count: 0, groups: [CodeGroup::NONE; GROUPS] };

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
    unsafe fn at(head: &Head<'_>, start: usize, end: usize) -> Self {
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
    unsafe fn fetch_scales(&self) {
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

    /// What all queries need of the scales; keys after the end of the chunk get harmless ones.
    #[inline(always)]
    unsafe fn scales<V: Dots>(&self, places: &Places) {
        // SAFETY: as in `bytes`.
        unsafe {
            let mut i = 0;
            while i < CHUNK {
                let (group, at) = (i / GROUP, i % GROUP);
                let count = self.count.saturating_sub(i).min(V::LEN);
                let key = V::load_part(self.groups[group].key_scales.add(at), count);
                let value = V::load_part(self.groups[group].value_scales.add(at), count);
                // A value that is not a number makes its score none.
                value.mul_add(V::splat(0.0), key).store(places.key_scale.add(i));
                V::splat(LEAST_LOG).max(log2_below(value)).store(places.value_log.add(i));
                value.mul(V::splat(LARGEST)).store(places.value_factor.add(i));
                i += V::LEN;
            }
        }
    }
}

/// One chunk for a few pairs.
pub struct Step<'a> {
    head: &'a Head<'a>,
    places: &'a Places,
    chunk: &'a Chunk,
    /// Fetched meanwhile.
    next: &'a Chunk,
    /// Groups of the chunk that some pair sees.
    groups: usize,
    /// Index among the pairs of the pass, and of the head.
    pair: usize,
    first: usize,
}

impl Step<'_> {
    /// # Safety
    /// As [`bytes`].
    #[inline(always)]
    unsafe fn run<V: Compiled, const P: usize>(&self) {
        let layout = &self.head.desc.layout;
        // SAFETY: the caller's promise.
        unsafe {
            if layout.k == KvType::Q4 {
                V::score::<P, true>(self)
            } else {
                V::score::<P, false>(self)
            }
            V::weights::<P>(self);
            if layout.v == KvType::Q4 { self.sum::<V, P, true>() } else { self.sum::<V, P, false>() }
        }
    }

    /// All values.
    #[inline(always)]
    unsafe fn sum<V: Compiled, const P: usize, const FOUR: bool>(&self) {
        let dim = self.head.desc.layout.head_dim_v;
        // Of 4-bit codes one register holds two vectors.
        let (end, wide, least) =
            if FOUR { (dim / 2, V::WIDE / 2 * V::LEN, V::LEN) } else { (dim, V::WIDE * V::LEN, V::LEN) };
        // SAFETY: the caller's promise.
        unsafe {
            let mut i = 0;
            while i + wide <= end {
                V::sum_values::<P, FOUR>(self, i);
                i += wide;
            }
            while i < end {
                let mut pair = 0;
                while pair < P {
                    V::sum_rest::<FOUR>(self, pair, i);
                    pair += 1;
                }
                i += least;
            }
        }
    }

    /// Scores in powers of two, `W` vectors of keys at a time.
    #[inline(always)]
    unsafe fn score<V: Dots, const P: usize, const W: usize, const FOUR: bool>(&self) {
        let (dim, places) = (self.head.desc.layout.head_dim_k, self.places);
        let rows = if FOUR { dim / 8 } else { dim / 4 };
        // SAFETY: as in `bytes`; whole tiles of groups stay within the chunk.
        unsafe {
            let mut key = 0;
            while key < self.groups * GROUP {
                let mut sums = [[V::ints(0); W]; P];
                for (p, sums) in sums.iter_mut().enumerate() {
                    *sums = [V::ints(*places.query_offset.add(self.pair + p)); W];
                }
                let (mut keys, mut next) = ([std::ptr::null(); W], [std::ptr::null(); W]);
                for (w, (keys, next)) in keys.iter_mut().zip(&mut next).enumerate() {
                    let at = key + w * V::LEN;
                    *keys = self.chunk.groups[at / GROUP].keys.add(at % GROUP * 4);
                    *next = self.next.groups[at / GROUP].keys;
                }
                let mut row = 0;
                while row < rows {
                    let mut codes = [V::ints(0); W];
                    for (w, codes) in codes.iter_mut().enumerate() {
                        *codes = V::load_bytes(keys[w].add(row * 4 * GROUP));
                        if self.next.count > 0 {
                            prefetch(next[w].wrapping_add(row * 4 * GROUP), 1);
                        }
                    }
                    let q = places.q.add(self.pair * dim).cast::<u8>();
                    if FOUR {
                        let mut halves = [[V::ints(0); 2]; W];
                        for (halves, codes) in halves.iter_mut().zip(codes) {
                            *halves = V::nibbles(codes);
                        }
                        for (p, sums) in sums.iter_mut().enumerate() {
                            let low = V::splat_four(q.add(p * dim + row * 8));
                            let high = V::splat_four(q.add(p * dim + row * 8 + 4));
                            for (sum, halves) in sums.iter_mut().zip(halves) {
                                *sum = V::dot4(V::dot4(*sum, halves[0], low), halves[1], high);
                            }
                        }
                    } else {
                        for (p, sums) in sums.iter_mut().enumerate() {
                            let q = V::splat_four(q.add(p * dim + row * 4));
                            for (sum, codes) in sums.iter_mut().zip(codes) {
                                *sum = V::dot4(*sum, codes, q);
                            }
                        }
                    }
                    row += 1;
                }
                for (p, sums) in sums.into_iter().enumerate() {
                    let scale = V::splat(*places.query_scale.add(self.pair + p));
                    let bias = V::splat(*places.query_bias.add(self.pair + p));
                    for (w, sum) in sums.into_iter().enumerate() {
                        let at = key + w * V::LEN;
                        let scale = V::load(places.key_scale.add(at)).mul(scale);
                        V::float(sum).mul_add(scale, bias).store(places.scores.add(p * CHUNK + at));
                    }
                }
                key += W * V::LEN;
            }
        }
    }

    /// Scores to bytes; maxima, totals and the factors on sums brought up to date.
    #[inline(always)]
    unsafe fn weights<V: Dots, const P: usize>(&self) {
        let (head, places) = (self.head, self.places);
        let end = self.groups * GROUP;
        let (mut maxima, mut totals) = ([LOWEST; SOME], [0f32; SOME]);
        // SAFETY: as in `bytes`.
        unsafe {
            let mut p = 0;
            while p < P {
                let scores = places.scores.add(p * CHUNK);
                if head.cap() > 0.0 {
                    let mut i = 0;
                    while i < end {
                        V::splat(head.cap()).mul(tanh(V::load(scores.add(i)))).store(scores.add(i));
                        i += V::LEN;
                    }
                }
                let visible = head.visible(self.first + p);
                let from = visible.start.saturating_sub(self.chunk.start).min(end);
                let to = visible.end.saturating_sub(self.chunk.start).min(end);
                std::slice::from_raw_parts_mut(scores, from).fill(f32::NEG_INFINITY);
                std::slice::from_raw_parts_mut(scores.add(to), end - to).fill(f32::NEG_INFINITY);

                let mut largest = V::splat(LOWEST);
                let mut i = 0;
                while i < end {
                    largest = V::load(scores.add(i)).add(V::load(places.value_log.add(i))).max(largest);
                    i += V::LEN;
                }
                let largest = largest.largest();
                let mut total = V::splat(0.0);
                let weights = places.weights.add(p * CHUNK);
                let mut i = 0;
                while i < end {
                    let weight = exp2_rough(V::load(scores.add(i)).sub(V::splat(largest)));
                    total = total.add(weight);
                    let dither = V::load(DITHER.as_ptr().add(self.chunk.start % CHUNK + i));
                    weight.mul_add(V::load(places.value_factor.add(i)), dither).store_bytes(weights.add(i));
                    i += V::LEN;
                }
                maxima[p] = largest;
                totals[p] = total.sum();
                p += 1;
            }
            let mut i = 0;
            while i < P {
                let (running, total) = (places.maximum.add(self.pair + i), places.total.add(self.pair + i));
                let (before, here) = (V::load(running), V::load(maxima.as_ptr().add(i)));
                let maximum = here.max(before);
                let (old, new) = (exp2(before.sub(maximum)), exp2(here.sub(maximum)));
                let sum = V::load(total).mul_add(old, V::load(totals.as_ptr().add(i)).mul(new));
                maximum.store_part(running, (P - i).min(V::LEN));
                sum.store_part(total, (P - i).min(V::LEN));
                old.store(places.old.add(i));
                new.mul(V::splat(1.0 / LARGEST)).store(places.new.add(i));
                i += V::LEN;
            }
        }
    }

    /// Adds the weighted values from `i` on, `W` vectors, of `P` pairs from `first` on. Of 4-bit codes half of them are those of
    /// the second half of the values.
    #[inline(always)]
    unsafe fn sum_values<V: Dots, const P: usize, const W: usize, const FOUR: bool>(&self, first: usize, i: usize) {
        let (dim, places) = (self.head.desc.layout.head_dim_v, self.places);
        let partial_len = partial_len(self.head.desc);
        let width = if FOUR { dim / 2 } else { dim };
        let loads = if FOUR { W / 2 } else { W };
        // SAFETY: as in `bytes`.
        unsafe {
            let mut sums = [[V::ints(0); W]; P];
            let mut quad = 0;
            while quad < self.groups * GROUP / 4 {
                let values = self.chunk.groups[quad / 4].values.add((quad % 4 * width + i) * 4);
                let next = self.next.groups[quad / 4].values.wrapping_add((quad % 4 * width + i) * 4);
                let mut codes = [V::ints(0); W];
                let mut w = 0;
                while w < loads {
                    let four = V::load_bytes(values.add(w * V::LEN * 4));
                    if self.next.count > 0 {
                        prefetch(next.wrapping_add(w * V::LEN * 4), 1);
                    }
                    if FOUR {
                        let [low, high] = V::nibbles(four);
                        (codes[w], codes[w + loads]) = (V::less_eight(low), V::less_eight(high));
                    } else {
                        codes[w] = four;
                    }
                    w += 1;
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let weights = V::splat_four(places.weights.add((first + p) * CHUNK + quad * 4));
                    for (sum, codes) in sums.iter_mut().zip(codes) {
                        *sum = V::dot4(*sum, weights, codes);
                    }
                }
                quad += 1;
            }
            for (p, sums) in sums.into_iter().enumerate() {
                let (old, new) = (V::splat(*places.old.add(first + p)), V::splat(*places.new.add(first + p)));
                let partial = places.partial.add((self.pair + first + p) * partial_len);
                for (w, sum) in sums.into_iter().enumerate() {
                    let second = FOUR && w >= loads;
                    let at = partial.add(i + if second { width + (w - loads) * V::LEN } else { w * V::LEN });
                    V::load(at).mul_add(old, V::float(sum).mul(new)).store(at);
                }
            }
        }
    }
}

/// Whether [`bytes`] can run `desc`: codes must fill vectors.
pub fn accepts(desc: &Desc, vector: usize) -> bool {
    let layout = &desc.layout;
    let granule = if layout.v == KvType::Q4 { 2 * vector } else { vector };
    layout.k.is_quantized()
        && layout.v.is_quantized()
        && layout.head_dim_k.is_multiple_of(8)
        && layout.head_dim_v.is_multiple_of(granule)
        && layout.head_dim_k.max(layout.head_dim_v) <= kv::MAX_ROTATED
        && layout.block_size.is_multiple_of(GROUP)
}
