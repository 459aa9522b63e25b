//! The inner loops of attention over a quantised cache: one chunk of keys for a few queries, from codes to scores, to
//! bytes of weights, to sums of values. Called by [`super::Pass::chunk`].

use super::chunk::{CHUNK, Chunk};
use super::places::Places;
use super::weights::Weights;
use crate::kv::KvType;
use crate::ops::attention::head::Head;
use crate::ops::attention::partial_len;
use crate::ops::attention::stream::{GROUP, prefetch};
use crate::simd::{Avx2, Avx512, Dots};

/// The inner loops as functions of their own, compiled with the features that `Self` needs: inlined into one
/// another all their forms would take minutes to compile.
///
/// # Safety
/// As [`super::bytes`].
#[expect(clippy::missing_safety_doc, reason = "said once, above, for all functions")]
pub trait Compiled: Dots + Weights {
    /// See [`Step::means`].
    unsafe fn means<const P: usize>(step: &Step<'_>);
    /// See [`Step::score`].
    unsafe fn score<const P: usize, const FOUR: bool>(step: &Step<'_>);
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
    /// See [`Chunk::scales`].
    pub(super) fault: f32,
}

impl Step<'_> {
    /// # Safety
    /// As [`super::bytes`].
    #[inline(always)]
    pub(super) unsafe fn run<V: Compiled, W: Weights, const P: usize>(&self) {
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
            W::weights::<P>(self);
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
                if self.num_rows > 0 {
                    self.scaled::<V, P, W, true>(sums, key);
                } else {
                    self.scaled::<V, P, W, false>(sums, key);
                }
                key += W * V::LEN;
            }
        }
    }

    /// Sums of products of codes, of the keys from `key` on, to scores; with the share of `MEANS` that stands there already.
    #[inline(always)]
    unsafe fn scaled<V: Dots, const P: usize, const W: usize, const MEANS: bool>(
        &self,
        sums: [[V::Ints; W]; P],
        key: usize,
    ) {
        let Places { key_scale, query_scale, query_bias, scores, .. } = *self.places;
        // SAFETY: as in `bytes`.
        unsafe {
            let mut key_scales = [V::splat(0.0); W];
            for (w, scale) in key_scales.iter_mut().enumerate() {
                *scale = V::load(key_scale.add(key + w * V::LEN));
            }
            for (p, sums) in sums.into_iter().enumerate() {
                let scale = V::splat(*query_scale.add(self.pair + p));
                let bias = V::splat(*query_bias.add(self.pair + p));
                for (w, sum) in sums.into_iter().enumerate() {
                    let score = scores.add(p * CHUNK + key + w * V::LEN);
                    let bias = if MEANS { V::load(score).add(bias) } else { bias };
                    V::float(sum).mul_add(key_scales[w].mul(scale), bias).store(score);
                }
            }
        }
    }

    /// Adds the weighted values from `i` on, `W` vectors, of `P` pairs from `first` on. Of 4-bit codes half of them are those of
    /// the second half of the values.
    #[inline(always)]
    unsafe fn sum_values<V: Dots, const P: usize, const W: usize, const FOUR: bool>(&self, first: usize, i: usize) {
        let (dim, places) = (self.head.desc.layout.head_dim_v, self.places);
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
            if self.chunk.channels.is_null() {
                self.add_up::<V, P, W, FOUR, false>(sums, first, i);
            } else {
                self.add_up::<V, P, W, FOUR, true>(sums, first, i);
            }
        }
    }

    /// Adds the chunk's sums of values from `i` on to those so far; `CHANNELS` says that each channel has a scale.
    #[inline(always)]
    unsafe fn add_up<V: Dots, const P: usize, const W: usize, const FOUR: bool, const CHANNELS: bool>(
        &self,
        sums: [[V::Ints; W]; P],
        first: usize,
        i: usize,
    ) {
        let (partial_len, places) = (partial_len(self.head.desc), self.places);
        let (width, loads) = (self.head.desc.layout.head_dim_v / 2, W / 2);
        // SAFETY: as in `bytes`.
        unsafe {
            for (p, sums) in sums.into_iter().enumerate() {
                let (old, new) = (V::splat(*places.old.add(first + p)), V::splat(*places.new.add(first + p)));
                let partial = places.partial.add((self.pair + first + p) * partial_len);
                for (w, sum) in sums.into_iter().enumerate() {
                    let second = FOUR && w >= loads;
                    let channel = i + if second { width + (w - loads) * V::LEN } else { w * V::LEN };
                    let new = if CHANNELS { V::load(self.chunk.channels.add(channel)).mul(new) } else { new };
                    let at = partial.add(channel);
                    V::load(at).mul_add(old, V::float(sum).mul(new)).store(at);
                }
            }
        }
    }
}
