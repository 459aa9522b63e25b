//! Keys fitted to their codes: what they lose before codes are made of them, and what queries and scores gain for it.
//!
//! Keys have a mean before RoPE, in some models twenty times what varies about it (the bias of `attn_k`), and RoPE turns it
//! with the position: no rotation of channels makes it small, no fixed mean takes it away. So a head stores, for its mean
//! `b` before RoPE, the rotation `R_p` at position p, and a step `s` per pair of channels (which commutes with `R_p`)
//!
//! ```text
//! stored = (k - R_p b) / s        q · k = (s q) · stored + q · R_p b
//! ```
//! `q · R_p b` is a sum of cosines and sines of `p` times the angle of each pair: what each query is to be multiplied with
//! are tables of angles that all heads with the same frequencies share. Pairs whose mean does not matter have a mean of 0,
//! and cost nothing.
//!
//! `p` is the place of a key in its sequence, which is its position: moving a key by a further rotation (context shift),
//! copying and sharing it need not know of all this. Estimated when a model is opened ([`KeySamples`]), fixed from then on.

mod samples;

use std::cmp::Ordering;
use std::sync::Arc;

use bytemuck::cast_slice;
use half::f16;

use crate::launch::Weight;
use crate::ops::rope::Pairing;
use crate::rows::row;

pub use samples::KeySamples;

/// Positions of a row of [`KeyFit::near`], and between two rows of [`KeyFit::far`].
pub const SPAN: usize = 128;

/// How the keys of one layer are fitted, as kernels see it. Whoever builds the plan keeps the memory alive ([`KeyFitting`]).
#[derive(Clone, Copy, Debug)]
pub struct KeyFit {
    /// Values per key.
    pub head_dim: usize,
    /// Leading values of a key that are rotated.
    pub rotary_dim: usize,
    /// Which of them form a pair.
    pub pairing: Pairing,
    /// `[num_kv_heads, 3, head_dim]` f32: means before RoPE, steps, and what multiplies keys for them, `1 / step`.
    pub heads: Weight,
    /// `[rotary_dim, SPAN]` f32, and as much as a row again: cosines of a pair's angle times 0, 1, 2 … in the first half of
    /// the rows, sines in the second.
    pub near: Weight,
    /// `[SPAN, half_row(rotary_dim)]` f16, what a GPU multiplies with: per position cosine and sine of each pair's angle, then
    /// one pair of 1 and 0 for what is not rotated, then zeros.
    pub near_halves: Weight,
    /// `[rows, rotary_dim]` f32: cosines of the pairs' angles times `SPAN · row`, then sines.
    pub far: Weight,
}

/// Values in a row of [`KeyFit::near_halves`].
pub const fn half_row(rotary_dim: usize) -> usize {
    (rotary_dim + 2).next_multiple_of(32)
}

impl KeyFit {
    /// Means before RoPE, steps, and `1 / step` of one head.
    ///
    /// # Safety
    /// The memory must be alive, and have that head.
    #[inline(always)]
    pub unsafe fn head(&self, head: usize) -> [&[f32]; 3] {
        let base = self.heads.0.cast::<f32>();
        // SAFETY: the caller's promise.
        unsafe { [0, 1, 2].map(|part| row(base, 3 * head + part, self.head_dim)) }
    }

    /// Cosines and sines at `SPAN · index`.
    ///
    /// # Safety
    /// The memory must be alive, and cover that position.
    #[inline(always)]
    pub unsafe fn far(&self, index: usize) -> (&[f32], &[f32]) {
        // SAFETY: the caller's promise.
        unsafe { row(self.far.0.cast::<f32>(), index, self.rotary_dim) }.split_at(self.rotary_dim / 2)
    }

    /// Cosine and sine of pair `j` at a position.
    #[inline(always)]
    unsafe fn angle(&self, j: usize, position: usize) -> (f32, f32) {
        let (half, near) = (self.rotary_dim / 2, self.near.0.cast::<f32>());
        // SAFETY: as in `far`.
        unsafe {
            let (cosines, sines) = self.far(position / SPAN);
            let at = near.add(position % SPAN);
            let (cosine, sine) = (*at.add(j * SPAN), *at.add((half + j) * SPAN));
            (cosines[j] * cosine - sines[j] * sine, sines[j] * cosine + cosines[j] * sine)
        }
    }

    /// The mean of a head's keys as RoPE has it at `position`.
    ///
    /// # Safety
    /// The memory must be alive, have that head, and cover that position.
    #[inline(always)]
    pub unsafe fn mean_at(&self, head: usize, position: usize, out: &mut [f32]) {
        let half = self.rotary_dim / 2;
        // SAFETY: the caller's promise.
        unsafe {
            let [mean, ..] = self.head(head);
            out.copy_from_slice(mean);
            for j in 0..half {
                let (a, b) = self.pairing.pair(j, half);
                if mean[a] != 0.0 || mean[b] != 0.0 {
                    let (cosine, sine) = self.angle(j, position);
                    (out[a], out[b]) = (mean[a] * cosine - mean[b] * sine, mean[a] * sine + mean[b] * cosine);
                }
            }
        }
    }

    /// What is stored of the key at `position`.
    ///
    /// # Safety
    /// As [`KeyFit::mean_at`].
    #[inline(always)]
    pub unsafe fn fitted(&self, head: usize, position: usize, key: &[f32], out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.mean_at(head, position, out);
            let [.., inverse] = self.head(head);
            for ((out, key), inverse) in out.iter_mut().zip(key).zip(inverse) {
                *out = (key - *out) * inverse;
            }
        }
    }

    /// The key at `position`, given what is stored of it; `mean` is overwritten.
    ///
    /// # Safety
    /// As [`KeyFit::mean_at`].
    pub unsafe fn restore(&self, head: usize, position: usize, key: &mut [f32], mean: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.mean_at(head, position, mean);
            let [_, step, _] = self.head(head);
            for ((key, mean), step) in key.iter_mut().zip(mean).zip(step) {
                *key = *key * step + *mean;
            }
        }
    }
}

/// Cosines and sines for positions up to a context's end, by pair of channels.
#[derive(Clone, Debug)]
pub struct Angles {
    near: Vec<f32>,
    near_halves: Vec<u16>,
    far: Vec<f32>,
    inv_freq: Vec<f32>,
}

impl Angles {
    /// For positions below `context`, of pairs that turn by `inv_freq` from one to the next.
    pub fn new(inv_freq: &[f32], context: usize) -> Self {
        // In f64: at position 100 000 an f32 angle is off by 0.004.
        let angle = |j: usize, position: usize| f64::from(inv_freq[j]) * position as f64;
        let half = inv_freq.len();
        let table = |j: usize, position: usize| {
            let angle = angle(j % half, position);
            (if j < half { angle.cos() } else { angle.sin() }) as f32
        };
        let mut near: Vec<f32> = (0..2 * half).flat_map(|j| (0..SPAN).map(move |i| table(j, i))).collect();
        near.resize(near.len() + SPAN, 0.0); // whole vectors are read, wherever a chunk of keys begins
        let near_half = |i: usize, at: usize| match (at / 2).cmp(&half) {
            Ordering::Less => table(at / 2 + at % 2 * half, i),
            Ordering::Equal if at.is_multiple_of(2) => 1.0,
            _ => 0.0,
        };
        let near_row = |i: usize| (0..half_row(2 * half)).map(move |at| f16::from_f32(near_half(i, at)).to_bits());
        let near_halves = (0..SPAN).flat_map(near_row).collect();
        let rows = context.div_ceil(SPAN);
        let far = (0..rows).flat_map(|row| (0..2 * half).map(move |j| table(j, row * SPAN))).collect();
        Angles { near, near_halves, far, inv_freq: inv_freq.to_vec() }
    }

    /// Of which frequencies.
    pub fn inv_freq(&self) -> &[f32] {
        &self.inv_freq
    }
}

/// The memory behind a [`KeyFit`].
#[derive(Clone, Debug)]
pub struct KeyFitting {
    head_dim: usize,
    pairing: Pairing,
    heads: Vec<f32>,
    angles: Arc<Angles>,
}

impl KeyFitting {
    /// Means `[num_kv_heads, head_dim]` before RoPE, and steps of the same shape, alike for the channels of a pair.
    ///
    /// # Panics
    /// When lengths do not belong together.
    pub fn new(head_dim: usize, pairing: Pairing, angles: &Arc<Angles>, means: &[f32], steps: &[f32]) -> Self {
        assert!(means.len() == steps.len() && means.len().is_multiple_of(head_dim), "means and steps of whole heads");
        assert!(2 * angles.inv_freq.len() <= head_dim, "no more pairs than channels");
        let heads = means.chunks(head_dim).zip(steps.chunks(head_dim));
        let head = |(mean, step): (&[f32], &[f32])| {
            let inverse = step.iter().map(|step| 1.0 / step);
            mean.iter().chain(step).copied().chain(inverse).collect::<Vec<f32>>()
        };
        KeyFitting { head_dim, pairing, heads: heads.flat_map(head).collect(), angles: Arc::clone(angles) }
    }

    /// As kernels see it, for as long as this lives.
    pub fn key_fit(&self) -> KeyFit {
        let [heads, near, near_halves, far] = self.parts().map(|part| Weight(part.as_ptr()));
        let (head_dim, rotary_dim) = (self.head_dim, 2 * self.angles.inv_freq.len());
        KeyFit { head_dim, rotary_dim, pairing: self.pairing, heads, near, near_halves, far }
    }

    /// The memory that a [`KeyFit`] names, part by part: what a GPU needs copies of.
    pub fn parts(&self) -> [&[u8]; 4] {
        let Angles { near, near_halves, far, .. } = &*self.angles;
        [cast_slice(&self.heads), cast_slice(near), cast_slice(near_halves), cast_slice(far)]
    }

    /// Pairs with a mean, in all heads, of how many.
    pub fn num_pairs(&self) -> (usize, usize) {
        let half = self.angles.inv_freq.len();
        let heads = self.heads.chunks(3 * self.head_dim);
        let with_mean = |head: &[f32]| {
            let pair = |j: &usize| {
                let (a, b) = self.pairing.pair(*j, half);
                head[a] != 0.0 || head[b] != 0.0
            };
            (0..half).filter(pair).count()
        };
        (heads.map(with_mean).sum(), self.heads.len() / (3 * self.head_dim) * half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Random, Values};
    use crate::ops::{rope, rope_table};

    /// Against RoPE itself: a key that is its mean and nothing else leaves nothing behind, wherever it stands.
    #[test]
    fn a_mean_turned_by_rope_is_taken_away() {
        let mut random = Random::new(21);
        for (head_dim, rotary_dim, pairing) in [
            (64, 64, Pairing::Halves),
            (64, 64, Pairing::Adjacent),
            (80, 32, Pairing::Halves),
            (24, 24, Pairing::Halves),
        ] {
            let inv_freq: Vec<f32> =
                (0..rotary_dim / 2).map(|j| 1e4f32.powf(-(2.0 * j as f32) / rotary_dim as f32)).collect();
            let angles = Arc::new(Angles::new(&inv_freq, 5000));
            let means = random.values(Values::Normal, 2 * head_dim);
            let steps = vec![0.5; 2 * head_dim];
            let fitting = KeyFitting::new(head_dim, pairing, &angles, &means, &steps);
            let fit = fitting.key_fit();
            let desc = rope::Desc { head_dim, num_heads: 1, rotary_dim, pairing };
            for position in [0, 1, 127, 128, 1000, 4999] {
                let mut table = vec![0f32; rotary_dim];
                let angles = rope_table::Desc { rotary_dim, magnitude: 1.0 };
                rope_table::reference::rope_table(&angles, position as u32, &inv_freq, &mut table);
                let mut key: Vec<f32> = means[head_dim..].to_vec();
                rope::reference::rope(&desc, &table, &mut key);
                let (mut stored, mut mean) = (vec![1f32; head_dim], vec![0f32; head_dim]);
                // SAFETY: the memory is `fitting`'s, which has two heads and covers 5000 positions.
                unsafe {
                    fit.fitted(1, position, &key, &mut stored);
                    assert!(stored.iter().all(|x| x.abs() < 1e-5), "{position}: {stored:?}");
                    fit.restore(1, position, &mut stored, &mut mean);
                }
                assert!(stored.iter().zip(&key).all(|(a, b)| (a - b).abs() < 1e-5), "{position}");
            }
        }
    }
}
