//! Means and steps of a layer's keys, estimated from keys and queries of a text. Called when a model is opened with a cache
//! of codes, and by the tests of accuracy.

use std::sync::Arc;

use super::{Angles, KeyFitting};
use crate::ops::rope::Pairing;

/// Leading keys that are left out: attention sinks, like no other key.
const SINKS: usize = 1;
/// Least part of the mean size that a pair's is taken for: sizes divide each other.
const LEAST: f64 = 1e-2;

/// Keys and queries of one layer, after RoPE, of the first tokens of a text.
#[derive(Clone, Copy, Debug)]
pub struct KeySamples<'a> {
    /// `[num_tokens, num_kv_heads, head_dim]`
    pub keys: &'a [f32],
    /// `[num_tokens, num_heads, head_dim]`
    pub queries: &'a [f32],
    /// Tokens.
    pub num_tokens: usize,
    /// Values per key.
    pub head_dim: usize,
    /// Which of them form a pair.
    pub pairing: Pairing,
}

/// Sizes of the channels of a head; those of a pair have the same.
struct Head {
    /// Means before RoPE.
    mean: Vec<f64>,
    /// Mean squares of what varies about them.
    varying: Vec<f64>,
    /// Mean squares of queries.
    query: Vec<f64>,
}

impl KeySamples<'_> {
    /// How to fit such keys. Codes have errors as large as what they stand for: means are taken away, the largest first, until
    /// those left are at most `spared` of what varies. `None` where that is little to begin with, or nothing can be said.
    pub fn fitting(&self, angles: &Arc<Angles>, spared: f64) -> Option<KeyFitting> {
        let (dim, num_tokens) = (self.head_dim, self.num_tokens);
        let num_kv_heads = self.keys.len() / (num_tokens * dim).max(1);
        let whole = num_kv_heads > 0
            && num_tokens > 2 * SINKS + 1
            && self.keys.len() == num_tokens * num_kv_heads * dim
            && self.queries.len().is_multiple_of(num_tokens * num_kv_heads * dim);
        let sound = |values: &[f32]| values.iter().all(|value| value.is_finite());
        if !whole || !sound(self.keys) || !sound(self.queries) {
            return None;
        }
        let (mut means, mut steps) = (Vec::new(), Vec::new());
        for head in 0..num_kv_heads {
            let mut head = self.head(head, num_kv_heads, angles.inv_freq());
            let step = head.steps();
            head.spare(&step, spared, self.pairing, angles.inv_freq().len());
            means.extend(head.mean.iter().map(|&mean| mean as f32));
            steps.extend(step.iter().map(|&step| step as f32));
        }
        Some(KeyFitting::new(dim, self.pairing, angles, &means, &steps))
    }

    fn head(&self, head: usize, num_kv_heads: usize, inv_freq: &[f32]) -> Head {
        let (dim, half) = (self.head_dim, inv_freq.len());
        let keys: Vec<Vec<f64>> = (SINKS..self.num_tokens)
            .map(|position| {
                let key = &self.keys[(position * num_kv_heads + head) * dim..][..dim];
                let mut key: Vec<f64> = key.iter().copied().map(f64::from).collect();
                for (j, &frequency) in inv_freq.iter().enumerate() {
                    let (sine, cosine) = (f64::from(frequency) * position as f64).sin_cos();
                    let (a, b) = self.pairing.pair(j, half);
                    (key[a], key[b]) = (key[a] * cosine + key[b] * sine, key[b] * cosine - key[a] * sine);
                }
                key
            })
            .collect();
        let count = keys.len() as f64;
        let average = |of: &dyn Fn(&[f64], usize) -> f64| -> Vec<f64> {
            (0..dim).map(|i| keys.iter().map(|key| of(key, i)).sum::<f64>() / count).collect()
        };
        let mean = average(&|key, i| key[i]);
        let mut varying = average(&|key, i| (key[i] - mean[i]).powi(2));
        let mut query = vec![0f64; dim];
        let group = self.queries.len() / (self.num_tokens * num_kv_heads * dim);
        for (index, q) in self.queries.chunks_exact(dim).enumerate() {
            if index / group % num_kv_heads == head {
                query.iter_mut().zip(q).for_each(|(sum, &q)| *sum += f64::from(q).powi(2));
            }
        }
        for j in 0..half {
            let (a, b) = self.pairing.pair(j, half);
            for squares in [&mut varying, &mut query] {
                let both = (squares[a] + squares[b]) / 2.0;
                (squares[a], squares[b]) = (both, both);
            }
        }
        Head { mean, varying, query }
    }
}

impl Head {
    /// The steps with the least error of scores. Codes of a rotated vector have an error alike in all channels, in proportion
    /// to the size of `keys / step`, so that of a score is `Σ query² step² · Σ varying² / step²`, least where
    /// `step² = varying / query` (Cauchy-Schwarz).
    fn steps(&self) -> Vec<f64> {
        let sizes = |squares: &[f64]| -> Vec<f64> {
            let least = LEAST * (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
            squares.iter().map(|square| square.sqrt().max(least).max(f64::MIN_POSITIVE)).collect()
        };
        let (varying, query) = (sizes(&self.varying), sizes(&self.query));
        varying.iter().zip(&query).map(|(varying, query)| (varying / query).sqrt().clamp(1e-6, 1e6)).collect()
    }

    /// Forgets the means that matter least, as long as they are at most `spared` of what varies.
    fn spare(&mut self, step: &[f64], spared: f64, pairing: Pairing, half: usize) {
        let scaled = |square: f64, i: usize| square / step[i].powi(2);
        let varying: f64 = self.varying.iter().enumerate().map(|(i, &square)| scaled(square, i)).sum();
        let size = |j: usize| {
            let (a, b) = pairing.pair(j, half);
            scaled(self.mean[a].powi(2), a) + scaled(self.mean[b].powi(2), b)
        };
        let mut pairs: Vec<(f64, usize)> = (0..half).map(|j| (size(j), j)).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut left = 0.0;
        for (size, j) in pairs {
            left += size;
            if left > spared * varying {
                break;
            }
            let (a, b) = pairing.pair(j, half);
            (self.mean[a], self.mean[b]) = (0.0, 0.0);
        }
    }
}
