//! The inner loops of attention over a quantised cache: one chunk of keys for a few queries, from codes to scores, to
//! bytes of weights, to sums of values. Called by [`super::Pass::chunk`].

use super::chunk::{CHUNK, Chunk, LARGEST};
use super::places::{Places, SOME};
use crate::kv::KvType;
use crate::ops::attention::head::Head;
use crate::ops::attention::partial_len;
use crate::ops::attention::stream::{GROUP, LOWEST, prefetch};
use crate::simd::{Avx2, Avx512, Dots, exp2, exp2_rough, tanh};

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

/// The inner loops as functions of their own, compiled with the features that `Self` needs: inlined into one
/// another all their forms would take minutes to compile.
///
/// # Safety
/// As [`super::bytes`].
#[expect(clippy::missing_safety_doc, reason = "said once, above, for all functions")]
pub trait Compiled: Dots {
    /// See [`Step::means`].
    unsafe fn means<const P: usize>(step: &Step<'_>);
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
            unsafe fn means<const P: usize>(step: &Step<'_>) {
                // SAFETY: the caller's promise; the features are enabled above, as they are below.
                unsafe { step.means::<Self, P, $wide>() }
            }

            #[target_feature(enable = $features)]
            unsafe fn score<const P: usize, const FOUR: bool>(step: &Step<'_>) {
                // SAFETY: as above.
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

/// One chunk for a few pairs.
pub struct Step<'a> {
    pub(super) head: &'a Head<'a>,
    pub(super) places: &'a Places,
    pub(super) chunk: &'a Chunk,
    /// Fetched meanwhile.
    pub(super) next: &'a Chunk,
    /// Groups of the chunk that some pair sees.
    pub(super) groups: usize,
    /// Index among the pairs of the pass, and of the head.
    pub(super) pair: usize,
    pub(super) first: usize,
    /// How many of [`Places::rows`] there are.
    pub(super) num_rows: usize,
}

impl Step<'_> {
    /// # Safety
    /// As [`super::bytes`].
    #[inline(always)]
    pub(super) unsafe fn run<V: Compiled, const P: usize>(&self) {
        let layout = &self.head.desc.layout;
        // SAFETY: the caller's promise.
        unsafe {
            if self.num_rows > 0 {
                V::means::<P>(self);
            }
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
                        let score = places.scores.add(p * CHUNK + at);
                        let bias = if self.num_rows > 0 { V::load(score).add(bias) } else { bias };
                        V::float(sum).mul_add(scale, bias).store(score);
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
