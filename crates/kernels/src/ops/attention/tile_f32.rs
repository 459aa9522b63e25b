//! The products of a tile in f32: what the exact plan allows.

use std::ops::Range;

use super::element::widen;
use super::head::Head;
use super::stream::GROUP;
use super::tile::{PAIRS, Places, Products, WIDE};
use crate::simd::{Lanes, exp2};

/// Fused multiplications and additions in f32, `R` keys (then values of a vector) in registers at a time.
pub enum Full<const R: usize> {}

impl<V: Lanes, const R: usize> Products<V> for Full<R> {
    const KEYS: usize = R;

    #[inline(always)]
    unsafe fn query(dim: usize, from: *const f32, factor: f32, lane: usize, places: &Places) {
        // SAFETY: the promises of `Products`.
        unsafe {
            let mut i = 0;
            while i < dim {
                *places.q.add(i * PAIRS + lane) = *from.add(i) * factor;
                i += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn load(head: &Head<'_>, chunk: &Range<usize>, places: &Places) {
        let layout = &head.desc.layout;
        let (dim_k, dim_v) = (layout.head_dim_k, layout.head_dim_v);
        // SAFETY: the promises of `Products`; the chunk starts with a group.
        unsafe {
            let mut n = 0;
            while n < chunk.len() {
                let count = (chunk.len() - n).min(GROUP);
                let (keys, values) = head.stored(chunk.start + n);
                let (to_keys, to_values) = (places.keys.add(n * dim_k), places.values.add(n * dim_v));
                widen::<V>(layout.k, keys, count * dim_k, to_keys);
                widen::<V>(layout.v, values, count * dim_v, to_values);
                std::slice::from_raw_parts_mut(to_keys.add(count * dim_k), (GROUP - count) * dim_k).fill(0.0);
                std::slice::from_raw_parts_mut(to_values.add(count * dim_v), (GROUP - count) * dim_v).fill(0.0);
                n += GROUP;
            }
        }
    }

    #[inline(always)]
    unsafe fn score(dim: usize, count: usize, lane: usize, places: &Places) {
        // SAFETY: the promises of `Products`.
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

    #[inline(always)]
    unsafe fn exp2(x: V) -> V {
        // SAFETY: the promises of `Products`.
        unsafe { exp2(x) }
    }

    #[inline(always)]
    unsafe fn sum_values(dim: usize, count: usize, lane: usize, places: &Places) {
        // SAFETY: the promises of `Products`.
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
}
