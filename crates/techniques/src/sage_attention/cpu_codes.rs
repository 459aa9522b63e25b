//! Codes of a chunk of keys and values, made of the floats in the cache: keys without their mean, and rotated. They lie as
//! in a quantised cache (`kernels/kv/code.rs`): keys with one scale per vector, values with one per channel and chunk. Called
//! by the kernel, once per tile of queries.
#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::ops::Range;

use kernels::ops::attention::Desc;
use kernels::ops::attention::bytes::{CHUNK, Chunk, GROUPS};
use kernels::ops::attention::element::{BF16, Element, F16};
use kernels::ops::attention::head::{CodeGroup, Head};
use kernels::ops::attention::stream::GROUP;
use kernels::simd::{Avx512, Lanes};
use kernels::{KvType, kv};

/// Tokens whose value codes are interleaved.
const QUAD: usize = 4;

/// Keys of which each value has a scale of its own, the first of a sequence: models send there what a query has no use for,
/// weights near 1 of values near 0, whose rounding by a scale for all would be larger than what else the sum has.
pub const SINKS: usize = CHUNK;

/// Places in the scratch memory of a worker.
#[derive(Clone, Copy)]
pub struct Codes {
    /// `[head_dim_k]`.
    mean: *mut f32,
    /// `[GROUP, larger head_dim]`: vectors in floats.
    rows: *mut f32,
    /// `[CHUNK]` each.
    key_scales: *mut f32,
    value_scales: *mut f32,
    /// `[larger head_dim]`: of each channel the scale, and the factor that makes codes.
    channels: *mut f32,
    factors: *mut f32,
    /// `[GROUPS, head_dim_k / 4, GROUP, 4]`, `[GROUPS, GROUP / 4, head_dim_v, 4]`.
    keys: *mut u8,
    values: *mut u8,
}

/// The larger head dimension, to whole cache lines of bytes.
fn width(desc: &Desc) -> usize {
    desc.layout.head_dim_k.max(desc.layout.head_dim_v).next_multiple_of(64)
}

impl Codes {
    /// Floats of scratch memory.
    pub fn len(desc: &Desc) -> usize {
        let width = width(desc);
        width + GROUP * width + 2 * CHUNK + 2 * width + 2 * CHUNK * width / 4
    }

    /// # Safety
    /// `scratch` must have [`Codes::len`] floats.
    #[inline(always)]
    pub unsafe fn within(scratch: *mut f32, desc: &Desc) -> Self {
        let width = width(desc);
        // SAFETY: the caller's promise.
        unsafe {
            let rows = scratch.add(width);
            let key_scales = rows.add(GROUP * width);
            let (value_scales, channels) = (key_scales.add(CHUNK), key_scales.add(2 * CHUNK));
            let (factors, keys) = (channels.add(width), channels.add(2 * width).cast::<u8>());
            let values = keys.add(CHUNK * width);
            Codes { mean: scratch, rows, key_scales, value_scales, channels, factors, keys, values }
        }
    }

    /// The mean of some keys, `[head_dim_k]`.
    ///
    /// # Safety
    /// The keys must be in the cache, of floats; the CPU must have AVX-512.
    #[inline(always)]
    pub unsafe fn mean(&self, head: &Head<'_>, keys: Range<usize>) -> &[f32] {
        let (k, dim) = (head.desc.layout.k, head.desc.layout.head_dim_k);
        let factor = 1.0 / keys.len() as f32;
        // SAFETY: the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.mean, dim).fill(0.0);
            for key in keys {
                let from = head.stored(key).0;
                let mut i = 0;
                while i < dim {
                    let sum = _mm512_loadu_ps(self.mean.add(i));
                    let sum = _mm512_fmadd_ps(load(k, from, i), _mm512_set1_ps(factor), sum);
                    _mm512_storeu_ps(self.mean.add(i), sum);
                    i += LEN;
                }
            }
            std::slice::from_raw_parts(self.mean, dim)
        }
    }

    /// Codes of the keys of the chunk that begins with `start`, of which the last is before `end`; those of the values follow by
    /// [`Codes::values`].
    ///
    /// # Safety
    /// As [`Codes::mean`]; `start` must be the first of a group.
    #[inline(always)]
    pub unsafe fn chunk(&self, head: &Head<'_>, start: usize, end: usize, mean: &[f32]) -> Chunk {
        let layout = &head.desc.layout;
        let mut chunk = Chunk { start, count: Chunk::len_at(start, end), ..Chunk::NONE };
        let mut group = 0;
        while group < GROUPS {
            let first = group * GROUP;
            // SAFETY: the caller's promise; tokens of a group lie behind one another.
            unsafe {
                let codes = CodeGroup {
                    keys: self.keys.add(first * layout.head_dim_k),
                    values: self.values.add(first * layout.head_dim_v),
                    key_scales: self.key_scales.add(first),
                    value_scales: self.value_scales.add(first),
                };
                if first < chunk.count {
                    let count = (chunk.count - first).min(GROUP);
                    self.keys(layout.k, head.stored(start + first).0, count, mean, &codes);
                }
                chunk.groups[group] = codes;
            }
            group += 1;
        }
        chunk
    }

    /// Codes of the chunk's values, with a scale per channel or, else, per token.
    ///
    /// # Safety
    /// As [`Codes::chunk`], which made it.
    #[inline(always)]
    pub unsafe fn values(&self, head: &Head<'_>, chunk: &mut Chunk, by_channel: bool) {
        let layout = &head.desc.layout;
        chunk.channels = if by_channel { self.channels } else { std::ptr::null() };
        // SAFETY: the caller's promise; tokens of a group lie behind one another.
        unsafe {
            if by_channel {
                self.channels(head, chunk.start..chunk.end());
            }
            let mut first = 0;
            while first < chunk.count {
                let (values, codes) = (head.stored(chunk.start + first).1, &chunk.groups[first / GROUP]);
                let count = (chunk.count - first).min(GROUP);
                if by_channel {
                    self.group::<true>(layout.v, values, count, layout.head_dim_v, codes);
                } else {
                    self.group::<false>(layout.v, values, count, layout.head_dim_v, codes);
                }
                first += GROUP;
            }
        }
    }

    /// Codes + 128 of the keys of a group, without the mean and rotated. Each step is done for all keys before the next, so
    /// that none waits for itself.
    #[inline(always)]
    unsafe fn keys(&self, k: KvType, keys: *const u8, count: usize, mean: &[f32], to: &CodeGroup) {
        let (dim, rows) = (mean.len(), self.rows);
        // SAFETY: the caller's promise.
        unsafe {
            let mut at = 0;
            while at < count * dim {
                let mut i = 0;
                while i < dim {
                    let key = _mm512_sub_ps(load(k, keys, at + i), _mm512_loadu_ps(mean.as_ptr().add(i)));
                    _mm512_storeu_ps(rows.add(at + i), rotate_within(key));
                    i += LEN;
                }
                at += dim;
            }
            let factor = rotate_across(rows, count * dim, dim);
            let mut factors = [0f32; GROUP];
            let mut slot = 0;
            while slot < count {
                let (scale, to_codes) = kv::code_scale(largest(dim, |i| _mm512_loadu_ps(rows.add(slot * dim + i))));
                *to.key_scales.cast_mut().add(slot) = scale * factor;
                factors[slot] = to_codes;
                slot += 1;
            }
            let mut slot = 0;
            while slot < count {
                let out = to.keys.cast_mut().cast::<u32>().add(slot);
                let mut i = 0;
                while i < dim {
                    let codes = codes(_mm512_loadu_ps(rows.add(slot * dim + i)), _mm512_set1_ps(factors[slot]));
                    let codes = _mm_xor_si128(_mm512_cvtepi32_epi8(codes), _mm_set1_epi8(i8::MIN));
                    *out.add(i / 4 * GROUP) = _mm_extract_epi32::<0>(codes) as u32;
                    *out.add((i / 4 + 1) * GROUP) = _mm_extract_epi32::<1>(codes) as u32;
                    *out.add((i / 4 + 2) * GROUP) = _mm_extract_epi32::<2>(codes) as u32;
                    *out.add((i / 4 + 3) * GROUP) = _mm_extract_epi32::<3>(codes) as u32;
                    i += LEN;
                }
                slot += 1;
            }
        }
    }

    /// The scale of each channel of some values, so that the largest has the largest code.
    #[inline(always)]
    unsafe fn channels(&self, head: &Head<'_>, tokens: Range<usize>) {
        let (v, dim) = (head.desc.layout.v, head.desc.layout.head_dim_v);
        // SAFETY: the caller's promise; a chunk starts with a group, and tokens of a group lie behind one another.
        unsafe {
            let sizes = std::slice::from_raw_parts_mut(self.channels, dim);
            sizes.fill(0.0);
            for start in tokens.clone().step_by(GROUP) {
                let values = head.stored(start).1;
                let len = (tokens.end - start).min(GROUP) * dim;
                let mut i = 0;
                while i < dim {
                    let mut largest = _mm512_loadu_si512(sizes.as_ptr().add(i).cast());
                    let mut at = i;
                    while at < len {
                        let size = _mm512_castps_si512(_mm512_abs_ps(load(v, values, at)));
                        largest = _mm512_max_epu32(largest, size);
                        at += dim;
                    }
                    _mm512_storeu_si512(sizes.as_mut_ptr().add(i).cast(), largest);
                    i += LEN;
                }
            }
            for (size, factor) in sizes.iter_mut().zip(std::slice::from_raw_parts_mut(self.factors, dim)) {
                (*size, *factor) = kv::code_scale(*size);
            }
        }
    }

    /// Codes of the values of a group, those of four tokens in each lane, with the scales of `CHANNELS` or one per token. Tokens
    /// after the last are read too, and get codes that no weight counts: their places lie in the same block.
    #[inline(always)]
    unsafe fn group<const CHANNELS: bool>(
        &self,
        v: KvType,
        values: *const u8,
        count: usize,
        dim: usize,
        to: &CodeGroup,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut slot = 0;
            while slot < count {
                let mut factors = [0f32; QUAD];
                if !CHANNELS {
                    for (n, factor) in factors.iter_mut().enumerate() {
                        let largest = largest(dim, |i| load(v, values, (slot + n) * dim + i));
                        (*to.value_scales.cast_mut().add(slot + n), *factor) = kv::code_scale(largest);
                    }
                }
                let out = to.values.cast_mut().add(slot * dim);
                let byte = _mm512_set1_epi32(0xff);
                let mut i = 0;
                while i < dim {
                    let channels = _mm512_loadu_ps(self.factors.add(i));
                    let mut four = _mm512_setzero_si512();
                    for (n, &factor) in factors.iter().enumerate().rev() {
                        let factors = if CHANNELS { channels } else { _mm512_set1_ps(factor) };
                        let codes = codes(load(v, values, (slot + n) * dim + i), factors);
                        four = _mm512_or_si512(_mm512_slli_epi32::<8>(four), _mm512_and_si512(codes, byte));
                    }
                    _mm512_storeu_si512(out.add(QUAD * i).cast(), four);
                    i += LEN;
                }
                slot += QUAD;
            }
        }
    }
}

/// Values of a vector.
const LEN: usize = Avx512::LEN;

/// 16 values from `index` on.
#[inline(always)]
unsafe fn load(kv_type: KvType, from: *const u8, index: usize) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        match kv_type {
            KvType::Bf16 => BF16::load::<Avx512>(from, index).0,
            _ => F16::load::<Avx512>(from, index).0,
        }
    }
}

/// The first four steps of the rotation (`kernels/kv/hadamard.rs`), those within a vector, without the factor.
#[inline(always)]
unsafe fn rotate_within(x: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        // Each lane gets its partner, with its own share added or, in the second of the two, taken away.
        let x = _mm512_fmadd_ps(x, signs(0xaaaa), _mm512_permute_ps::<0b10_11_00_01>(x));
        let x = _mm512_fmadd_ps(x, signs(0xcccc), _mm512_permute_ps::<0b01_00_11_10>(x));
        let x = _mm512_fmadd_ps(x, signs(0xf0f0), _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
        _mm512_fmadd_ps(x, signs(0xff00), _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x))
    }
}

/// -1 where a bit is set, else 1.
#[inline(always)]
unsafe fn signs(minus: __mmask16) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_mask_blend_ps(minus, _mm512_set1_ps(1.0), _mm512_set1_ps(-1.0)) }
}

/// The other steps, in place, for rows of `dim` values; returns the factor that is left to be applied.
#[inline(always)]
unsafe fn rotate_across(rows: *mut f32, len: usize, dim: usize) -> f32 {
    let part = 1usize << dim.trailing_zeros();
    let mut width = LEN;
    while width < part {
        let mut start = 0;
        while start < len {
            let mut i = start;
            while i < start + width {
                // SAFETY: the caller's promise: there are `len` values, whole rows.
                unsafe {
                    let (a, b) = (_mm512_loadu_ps(rows.add(i)), _mm512_loadu_ps(rows.add(i + width)));
                    _mm512_storeu_ps(rows.add(i), _mm512_add_ps(a, b));
                    _mm512_storeu_ps(rows.add(i + width), _mm512_sub_ps(a, b));
                }
                i += LEN;
            }
            start += 2 * width;
        }
        width *= 2;
    }
    1.0 / (part as f32).sqrt()
}

/// The largest size of a vector of `dim` values, given 16 at a time; more than all numbers where one is NaN.
#[inline(always)]
unsafe fn largest(dim: usize, row: impl Fn(usize) -> __m512) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sizes = _mm512_setzero_si512();
        let mut i = 0;
        while i < dim {
            sizes = _mm512_max_epu32(sizes, _mm512_castps_si512(_mm512_abs_ps(row(i))));
            i += LEN;
        }
        f32::from_bits(_mm512_reduce_max_epu32(sizes))
    }
}

/// Codes as integers. What is not finite has the factor 0, and becomes 0 in the low byte.
#[inline(always)]
unsafe fn codes(values: __m512, factors: __m512) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtps_epi32(_mm512_mul_ps(values, factors)) }
}
