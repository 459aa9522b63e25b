//! The products of a tile in bfloat16 with sums in f32: twice the arithmetic of f32 per instruction.
//!
//! `vdpbf16ps` adds the products of two neighbours to an f32, so whatever is summed over lies in pairs: two
//! values of a query or key in one 32-bit lane, two keys of a weight or value.

use std::arch::x86_64::*;
use std::ops::Range;

use super::element::{BF16, Element, F16};
use super::head::Head;
use super::stream::GROUP;
use super::tile::{PAIRS, Places, Products, WIDE};
use crate::kv::KvType;
use crate::simd::{Avx512, Lanes, exp2_rough};

/// Keys, then dimensions of a value, in registers at a time.
const R: usize = 8;
/// Values of a vector of f32.
const LEN: usize = Avx512::LEN;

/// `vdpbf16ps` on AVX-512, for caches in half precision or bfloat16.
pub enum Bf16 {}

impl Products<Avx512> for Bf16 {
    const KEYS: usize = R;

    /// `q [head_dim_k / 2, PAIRS]` of two neighbours each.
    #[inline(always)]
    unsafe fn query(dim: usize, from: *const f32, factor: f32, lane: usize, places: &Places) {
        // SAFETY: the promises of `Products`.
        unsafe {
            let q = places.q.cast::<u32>();
            let mut i = 0;
            while i < dim {
                let scaled = _mm512_mul_ps(_mm512_loadu_ps(from.add(i)), _mm512_set1_ps(factor));
                let mut pairs = [0u32; LEN / 2];
                _mm256_storeu_si256(pairs.as_mut_ptr().cast(), narrow(scaled));
                for (n, pair) in pairs.into_iter().enumerate() {
                    *q.add((i / 2 + n) * PAIRS + lane) = pair;
                }
                i += LEN;
            }
        }
    }

    /// `keys [CHUNK, head_dim_k]`, `values [CHUNK / 2, head_dim_v]` of two keys each.
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
                let to_keys = places.keys.cast::<u16>().add(n * dim_k);
                let mut i = 0;
                while i < count * dim_k {
                    let key = value(layout.k, keys, i);
                    _mm256_storeu_si256(to_keys.add(i).cast(), narrow(key));
                    i += LEN;
                }
                std::slice::from_raw_parts_mut(to_keys.add(count * dim_k), (GROUP - count) * dim_k).fill(0);
                let to_values = places.values.cast::<u32>().add(n / 2 * dim_v);
                let mut key = 0;
                while key < GROUP {
                    let mut i = 0;
                    while i < dim_v {
                        let mut pair = [_mm512_setzero_ps(); 2];
                        for (n, x) in pair.iter_mut().enumerate() {
                            if key + n < count {
                                *x = value(layout.v, values, (key + n) * dim_v + i);
                            }
                        }
                        _mm512_storeu_si512(to_values.add(key / 2 * dim_v + i).cast(), interleave(pair));
                        i += LEN;
                    }
                    key += 2;
                }
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
                let keys = places.keys.cast::<u16>().add(n * dim);
                let mut sums = [[_mm512_setzero_ps(); WIDE]; R];
                let mut i = 0;
                while i < dim {
                    let q = places.q.add(i / 2 * PAIRS + lane);
                    let q = [_mm512_loadu_ps(q), _mm512_loadu_ps(q.add(LEN))];
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let key = _mm512_set1_epi32(keys.add(r * dim + i).cast::<i32>().read_unaligned());
                        for (sum, q) in sums.iter_mut().zip(q) {
                            *sum = _mm512_dpbf16_ps(*sum, bf16(_mm512_castps_si512(q)), bf16(key));
                        }
                    }
                    i += 2;
                }
                for (r, sums) in sums.into_iter().enumerate() {
                    for (w, sum) in sums.into_iter().enumerate() {
                        _mm512_storeu_ps(places.scores.add((n + r) * PAIRS + lane + w * LEN), sum);
                    }
                }
                n += R;
            }
        }
    }

    #[inline(always)]
    unsafe fn exp2(x: Avx512) -> Avx512 {
        // SAFETY: the promises of `Products`.
        unsafe { exp2_rough(x) }
    }

    #[inline(always)]
    unsafe fn sum_values(dim: usize, count: usize, lane: usize, places: &Places) {
        // SAFETY: the promises of `Products`.
        unsafe {
            pack(count, lane, places);
            let correction = places.correction.add(lane);
            let correction = [_mm512_loadu_ps(correction), _mm512_loadu_ps(correction.add(LEN))];
            let mut i = 0;
            while i < dim {
                let mut sums = [[_mm512_setzero_ps(); WIDE]; R];
                let mut n = 0;
                while n < count / 2 {
                    let weights = places.scores.add(n * PAIRS + lane);
                    let weights = [_mm512_loadu_ps(weights), _mm512_loadu_ps(weights.add(LEN))];
                    let values = places.values.add(n * dim + i);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let value = _mm512_castps_si512(_mm512_set1_ps(*values.add(r)));
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum = _mm512_dpbf16_ps(*sum, bf16(_mm512_castps_si512(weight)), bf16(value));
                        }
                    }
                    n += 1;
                }
                for (r, sums) in sums.into_iter().enumerate() {
                    for (w, sum) in sums.into_iter().enumerate() {
                        let at = places.sums.add((i + r) * PAIRS + lane + w * LEN);
                        _mm512_storeu_ps(at, _mm512_fmadd_ps(_mm512_loadu_ps(at), correction[w], sum));
                    }
                }
                i += R;
            }
        }
    }
}

/// Sixteen values of 16 bits each.
#[inline(always)]
unsafe fn value(kv_type: KvType, at: *const u8, index: usize) -> __m512 {
    // SAFETY: the promises of `Products`.
    unsafe {
        match kv_type {
            KvType::Bf16 => BF16::load::<Avx512>(at, index).0,
            _ => F16::load::<Avx512>(at, index).0,
        }
    }
}

/// Weights of two keys into one lane each, in place: row `n / 2` takes rows `n` and `n + 1`.
#[inline(always)]
unsafe fn pack(count: usize, lane: usize, places: &Places) {
    // SAFETY: the promises of `Products`; a row is written after it was read.
    unsafe {
        let mut n = 0;
        while n < count {
            let mut w = 0;
            while w < WIDE {
                let scores = places.scores.add(lane + w * LEN);
                let pair = [_mm512_loadu_ps(scores.add(n * PAIRS)), _mm512_loadu_ps(scores.add((n + 1) * PAIRS))];
                _mm512_storeu_si512(scores.add(n / 2 * PAIRS).cast(), interleave(pair));
                w += 1;
            }
            n += 2;
        }
    }
}

/// To bfloat16, ties to even.
#[inline(always)]
unsafe fn narrow(x: __m512) -> __m256i {
    // SAFETY: the promises of `Products`; both types are 256 bits.
    unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) }
}

/// Two vectors to bfloat16, lane by lane: the first in the low halves.
#[inline(always)]
unsafe fn interleave([first, second]: [__m512; 2]) -> __m512i {
    // SAFETY: the promises of `Products`.
    unsafe {
        let low = _mm512_cvtepu16_epi32(narrow(first));
        let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow(second)));
        _mm512_or_si512(low, high)
    }
}

#[inline(always)]
unsafe fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(x) }
}
