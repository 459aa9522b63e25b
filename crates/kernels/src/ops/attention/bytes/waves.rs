//! The share of scores that the keys' mean has, which RoPE turns with their position and the cache has lost (`kv/fit`):
//! `q · R_p b = Σ_j A_j cos(p θ_j) + B_j sin(p θ_j)`, for a query and 16 keys at a time as many products as there are rows
//! of cosines and sines. Angles are taken apart: `A` and `B` are turned to the start of a span of keys, and the cosines and
//! sines of the keys within it are the same for every span. Called by [`super::Pass`] and [`Step::run`].

use super::places::Places;
use super::step::Step;
use crate::kv::fit::{KeyFit, SPAN};
use crate::ops::attention::head::Head;
use crate::ops::attention::stream::GROUP;
use crate::simd::Dots;

/// Notes which rows of [`KeyFit::near`] the mean of this head needs. Returns how many they are.
///
/// # Safety
/// As [`super::Pass`].
#[inline(always)]
pub(super) unsafe fn rows(head: &Head<'_>, places: &Places) -> usize {
    let Some(fit) = &head.args.fit else { return 0 };
    let (half, mut count) = (fit.rotary_dim / 2, 0);
    // SAFETY: the caller's promise; there are no more rows than values of a key.
    unsafe {
        let [mean, ..] = fit.head(head.index);
        for j in 0..half {
            let (a, b) = fit.pairing.pair(j, half);
            if mean[a] != 0.0 || mean[b] != 0.0 {
                *places.rows.add(count) = j as u32;
                *places.rows.add(count + 1) = (half + j) as u32;
                count += 2;
            }
        }
    }
    count
}

/// `A` and `B` of one query, as score in powers of two; returns the product of what is not rotated.
///
/// # Safety
/// As [`super::Pass`].
#[inline(always)]
pub(super) unsafe fn query(head: &Head<'_>, fit: &KeyFit, q: &[f32], at: usize, places: &Places) -> f32 {
    let (half, factor) = (fit.rotary_dim / 2, head.query_factor());
    // SAFETY: the caller's promise.
    unsafe {
        let [mean, ..] = fit.head(head.index);
        let waves = places.waves.add(at * fit.head_dim);
        for j in 0..half {
            let (a, b) = fit.pairing.pair(j, half);
            *waves.add(j) = (q[a] * mean[a] + q[b] * mean[b]) * factor;
            *waves.add(half + j) = (q[b] * mean[a] - q[a] * mean[b]) * factor;
        }
        q.iter().zip(mean).skip(fit.rotary_dim).map(|(q, mean)| q * mean).sum()
    }
}

impl Step<'_> {
    /// Leaves the mean's share where scores go.
    #[inline(always)]
    pub(super) unsafe fn means<V: Dots, const P: usize, const W: usize>(&self) {
        let Some(fit) = &self.head.args.fit else { return };
        let places = self.places;
        // SAFETY: as in `bytes`; tables go on for a span after their last row.
        unsafe {
            self.turn::<V, P>(fit);
            let near = fit.near.0.cast::<f32>().add(self.chunk.start % SPAN);
            let mut key = 0;
            while key < self.groups * GROUP {
                let mut sums = [[V::splat(0.0); W]; P];
                let mut i = 0;
                while i < self.num_rows {
                    let row = *places.rows.add(i) as usize;
                    let mut waves = [V::splat(0.0); W];
                    for (w, wave) in waves.iter_mut().enumerate() {
                        *wave = V::load(near.add(row * SPAN + key + w * V::LEN));
                    }
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let size = V::splat(*places.turned.add(p * fit.head_dim + row));
                        for (sum, wave) in sums.iter_mut().zip(waves) {
                            *sum = wave.mul_add(size, *sum);
                        }
                    }
                    i += 1;
                }
                for (p, sums) in sums.into_iter().enumerate() {
                    for (w, sum) in sums.into_iter().enumerate() {
                        sum.store(places.scores.add(p * SPAN + key + w * V::LEN));
                    }
                }
                key += W * V::LEN;
            }
        }
    }

    /// Turns `A` and `B` of the pairs to the start of the chunk's span.
    #[inline(always)]
    unsafe fn turn<V: Dots, const P: usize>(&self, fit: &KeyFit) {
        let (half, places) = (fit.rotary_dim / 2, self.places);
        // SAFETY: as in `bytes`.
        unsafe {
            let (cosines, sines) = fit.far(self.chunk.start / SPAN);
            let mut p = 0;
            while p < P {
                let waves = places.waves.add((self.pair + p) * fit.head_dim);
                let turned = places.turned.add(p * fit.head_dim);
                let mut j = 0;
                while j < half {
                    let count = (half - j).min(V::LEN);
                    let cosine = V::load_part(cosines.as_ptr().add(j), count);
                    let sine = V::load_part(sines.as_ptr().add(j), count);
                    let (a, b) = (V::load_part(waves.add(j), count), V::load_part(waves.add(half + j), count));
                    a.mul_add(cosine, b.mul(sine)).store_part(turned.add(j), count);
                    b.mul(cosine).sub(a.mul(sine)).store_part(turned.add(half + j), count);
                    j += V::LEN;
                }
                p += 1;
            }
        }
    }
}
