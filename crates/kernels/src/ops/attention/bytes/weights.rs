//! From scores to bytes: `2^(score - maximum)` of a chunk of keys for a few queries, rounded with dither, and maxima, totals
//! and the factors on sums brought up to date. Called by [`Step::run`]; which form of weights is a matter of the values' scales.

use super::chunk::{CHUNK, LARGEST};
use super::places::{Places, SOME};
use super::step::Step;
use crate::ops::attention::stream::{GROUP, LOWEST};
use crate::simd::{Avx2, Avx512, Dots, Lanes, STEPS, exp2, exp2_rough, tanh};

/// Vectors of weights that become one vector of bytes.
const QUAD: usize = 4;

/// Most pairs of a step, to whole fours.
const MOST: usize = 8;

/// Added to a byte before it is rounded, by the position of its key modulo [`CHUNK`]: multiples of the golden ratio, whose
/// parts of any length are spread evenly. Goes on for the keys that fill the last vector of bytes.
const DITHER: [f32; 2 * CHUNK] = {
    let mut dither = [0f32; 2 * CHUNK];
    let mut n = 0;
    while n < dither.len() {
        dither[n] = (turns(n) as f32 / (1 << 24) as f32 - 0.5) * 0.999;
        n += 1;
    }
    dither
};

/// The same as 256ths of a byte, for [`Avx512::store_powers`].
const DITHER_256: [u16; CHUNK] = {
    let mut dither = [0; CHUNK];
    let mut n = 0;
    while n < CHUNK {
        let key = n / POWERS * POWERS + Avx512::order_of_powers(n % POWERS);
        dither[n] = (turns(key) >> 16) as u16;
        n += 1;
    }
    dither
};

/// Weights that are made at a time.
const POWERS: usize = QUAD * Avx512::LEN;

/// The part after the point of `n` golden ratios and a half, in 2^-24; a half for the first.
const fn turns(n: usize) -> u32 {
    (n as u32).wrapping_mul(0x9e37_79b9).wrapping_add(1 << 31) >> 8
}

/// A form of weights.
///
/// # Safety
/// As [`super::bytes`].
#[expect(clippy::missing_safety_doc, reason = "said once, above, for all functions")]
pub trait Weights {
    /// The vectors in which they are computed.
    type Vector: Dots;
    /// What becomes of a weight of 1, and of a value whose scale is 1.
    const WHOLE: f32;

    /// Scores to bytes, compiled as a function of its own, like those of [`super::step::Compiled`].
    unsafe fn weights<const P: usize>(step: &Step<'_>);
    /// Writes the bytes of pair `p`, `padded` keys, and returns lanes of the sum of its weights.
    unsafe fn bytes(step: &Step<'_>, p: usize, padded: usize, largest: f32) -> Self::Vector;
}

/// Of values with a scale per token, which is part of the byte.
macro_rules! per_token {
    ($type:ty, $features:literal) => {
        impl Weights for $type {
            type Vector = Self;
            const WHOLE: f32 = LARGEST;

            #[target_feature(enable = $features)]
            unsafe fn weights<const P: usize>(step: &Step<'_>) {
                // SAFETY: the caller's promise; the features are enabled above.
                unsafe { step.weights::<Self, P>() }
            }

            #[inline(always)]
            unsafe fn bytes(step: &Step<'_>, p: usize, padded: usize, largest: f32) -> Self {
                // SAFETY: the caller's promise.
                unsafe { step.bytes(p, padded, largest) }
            }
        }
    };
}

per_token!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");
per_token!(Avx2, "avx2,fma,f16c");

/// Of values with a scale per channel ([`super::Chunk::channels`]): powers in 16-bit integers, to 1 in 500. What is lost is in
/// the total as well, which is that of the bytes.
pub enum Powers {}

impl Weights for Powers {
    type Vector = Avx512;
    const WHOLE: f32 = 255.0;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn weights<const P: usize>(step: &Step<'_>) {
        // SAFETY: the caller's promise; the features are enabled above.
        unsafe { step.weights::<Self, P>() }
    }

    #[inline(always)]
    unsafe fn bytes(step: &Step<'_>, p: usize, padded: usize, largest: f32) -> Avx512 {
        let Places { query_scale, query_bias, scores, weights, .. } = *step.places;
        // SAFETY: the caller's promise; a row of scores has room for whole vectors of bytes.
        unsafe {
            let (scores, weights) = (scores.add(p * CHUNK), weights.add(p * CHUNK));
            let mut total = Avx512::ints(0);
            let mut i = 0;
            while i < padded {
                let mut below = [Avx512::splat(-largest * STEPS); QUAD];
                for (n, below) in below.iter_mut().enumerate() {
                    *below = Avx512::load(scores.add(i + n * Avx512::LEN)).mul_add(Avx512::splat(STEPS), *below);
                }
                let bytes = Avx512::store_powers(below, DITHER_256.as_ptr().add(i), weights.add(i));
                total = Avx512::dot4(total, bytes, Avx512::ints(0x0101_0101));
                i += POWERS;
            }
            // Integers know no NaN, so what makes one of a score, the scales, is asked for it.
            let query = *query_scale.add(step.pair + p) + *query_bias.add(step.pair + p);
            Avx512::float(total).mul_add(Avx512::splat(1.0 / Self::WHOLE), Avx512::splat(0.0 * query + step.fault))
        }
    }
}

impl Step<'_> {
    /// Scores to bytes. Each stage goes over all pairs, so that none waits for another's.
    #[inline(always)]
    unsafe fn weights<W: Weights, const P: usize>(&self) {
        let places = self.places;
        let len = W::Vector::LEN;
        let padded = (self.groups * GROUP).next_multiple_of(QUAD * len);
        let (mut maxima, mut totals) = ([LOWEST; SOME], [0f32; SOME]);
        // SAFETY: as in `bytes`; there are at most `MOST` pairs.
        unsafe {
            let mut vectors = [W::Vector::splat(LOWEST); MOST];
            let mut p = 0;
            while p < P {
                vectors[p] = self.largest(p, padded);
                p += 1;
            }
            let mut p = 0;
            while p < P {
                let four = [vectors[p], vectors[p + 1], vectors[p + 2], vectors[p + 3]];
                W::Vector::store_largest(four, maxima.as_mut_ptr().add(p));
                p += 4;
            }
            let mut p = 0;
            while p < P {
                vectors[p] = W::bytes(self, p, padded, maxima[p]);
                p += 1;
            }
            let mut p = 0;
            while p < P {
                let four = [vectors[p], vectors[p + 1], vectors[p + 2], vectors[p + 3]];
                W::Vector::store_sums(four, totals.as_mut_ptr().add(p));
                p += 4;
            }
            let mut i = 0;
            while i < P {
                let (running, total) = (places.maximum.add(self.pair + i), places.total.add(self.pair + i));
                let (before, here) = (W::Vector::load(running), W::Vector::load(maxima.as_ptr().add(i)));
                let maximum = here.max(before);
                let (old, new) = (exp2(before.sub(maximum)), exp2(here.sub(maximum)));
                let sum = W::Vector::load(total).mul_add(old, W::Vector::load(totals.as_ptr().add(i)).mul(new));
                maximum.store_part(running, (P - i).min(len));
                sum.store_part(total, (P - i).min(len));
                old.store(places.old.add(i));
                new.mul(W::Vector::splat(1.0 / W::WHOLE)).store(places.new.add(i));
                i += len;
            }
        }
    }

    /// Caps and masks the scores of pair `p`, up to `padded`; the largest lane is the largest score with its value's scale.
    #[inline(always)]
    unsafe fn largest<V: Dots>(&self, p: usize, padded: usize) -> V {
        let Places { value_log, scores, .. } = *self.places;
        let (cap, end) = (self.head.cap(), self.groups * GROUP);
        // SAFETY: as in `bytes`; a row of scores has room for whole vectors of bytes.
        unsafe {
            let scores = scores.add(p * CHUNK);
            if cap > 0.0 {
                let mut i = 0;
                while i < end {
                    V::splat(cap).mul(tanh(V::load(scores.add(i)))).store(scores.add(i));
                    i += V::LEN;
                }
            }
            let visible = self.head.visible(self.first + p);
            let from = visible.start.saturating_sub(self.chunk.start).min(end);
            let to = visible.end.saturating_sub(self.chunk.start).min(end);
            std::slice::from_raw_parts_mut(scores, from).fill(f32::NEG_INFINITY);
            std::slice::from_raw_parts_mut(scores.add(to), padded - to).fill(f32::NEG_INFINITY);

            let mut largest = [V::splat(LOWEST); QUAD];
            let mut i = 0;
            while i < padded {
                for (n, largest) in largest.iter_mut().enumerate() {
                    let at = i + n * V::LEN;
                    *largest = V::load(scores.add(at)).add(V::load(value_log.add(at))).max(*largest);
                }
                i += QUAD * V::LEN;
            }
            let [a, b, c, d] = largest;
            a.max(b).max(c.max(d))
        }
    }

    /// [`Weights::bytes`] of values with a scale per token.
    #[inline(always)]
    unsafe fn bytes<V: Dots>(&self, p: usize, padded: usize, largest: f32) -> V {
        let Places { value_factor, scores, weights, .. } = *self.places;
        let dither = DITHER.as_ptr().wrapping_add(self.chunk.start % CHUNK);
        // SAFETY: as in `bytes`; a row of scores has room for whole vectors of bytes.
        unsafe {
            let (scores, weights) = (scores.add(p * CHUNK), weights.add(p * CHUNK));
            // One sum, so that its order does not depend on where the chunk starts.
            let mut total = V::splat(0.0);
            let mut i = 0;
            while i < padded {
                let mut bytes = [total; QUAD];
                for (n, byte) in bytes.iter_mut().enumerate() {
                    let at = i + n * V::LEN;
                    let weight = exp2_rough(V::load(scores.add(at)).sub(V::splat(largest)));
                    total = total.add(weight);
                    *byte = weight.mul_add(V::load(value_factor.add(at)), V::load(dither.add(at)));
                }
                V::store_bytes(bytes, weights.add(i));
                i += QUAD * V::LEN;
            }
            total
        }
    }
}
