//! How each hot weight type is unpacked in AVX-512 registers; layouts as documented in `gguf::blocks`.

#![allow(non_camel_case_types)] // the names are ggml's
#![allow(unused_unsafe)] // some bodies the macros take need no unsafe

use std::arch::x86_64::*;

use super::dot_avx512::Format;

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q8_0;
pub(super) struct Q4_K;
pub(super) struct Q5_K;
pub(super) struct Q6_K;

macro_rules! simd {
    ($(unsafe fn $name:ident$(<$(const $g:ident: $t:ty),*>)?($($arg:ident: $type:ty),*) -> $out:ty $body:block)*) => {
        $(
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
            unsafe fn $name$(<$(const $g: $t),*>)?($($arg: $type),*) -> $out {
                // SAFETY: callers have checked the features and that the blocks are readable.
                unsafe { $body }
            }
        )*
    };
}

simd! {
    // f16 number `field` bytes into each of up to eight blocks of `BYTES`, as f32 lanes 0..8.
    unsafe fn halves<const BYTES: usize>(at: *const u8, field: usize, num_blocks: usize) -> __m512 {
        let mut raw = [0u16; 8];
        for (i, half) in raw.iter_mut().enumerate().take(num_blocks) {
            *half = at.add(i * BYTES + field).cast::<u16>().read_unaligned();
        }
        _mm512_zextps256_ps512(_mm256_cvtph_ps(_mm_loadu_si128(raw.as_ptr().cast())))
    }

    // Two blocks of 16 bytes, `next` apart, as [low nibbles, high nibbles] of each.
    unsafe fn nibbles_of_two(first: *const u8, next: usize, whole: bool) -> __m512i {
        let a = _mm_loadu_si128(first.cast());
        let b = if whole { _mm_loadu_si128(first.add(next).cast()) } else { _mm_setzero_si128() };
        let both = _mm512_castsi256_si512(_mm256_set_m128i(b, a));
        let twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), both);
        let shifted = _mm512_srlv_epi64(twice, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
        _mm512_and_si512(shifted, _mm512_set1_epi8(15))
    }

    // The fifth bits of two blocks, as a mask of 64 columns.
    unsafe fn fifth_bits_of_two(first: *const u8, next: usize, whole: bool) -> u64 {
        let a = first.cast::<u32>().read_unaligned();
        let b = if whole { first.add(next).cast::<u32>().read_unaligned() } else { 0 };
        u64::from(a) | u64::from(b) << 32
    }

    // Adds 16 to the codes in `mask`.
    unsafe fn add_fifth(codes: __m512i, mask: u64) -> __m512i {
        _mm512_mask_add_epi8(codes, mask, codes, _mm512_set1_epi8(16))
    }

    // Q4_K and Q5_K: eight 6-bit scales (or mins) from twelve bytes, times the super-scale in `half`.
    unsafe fn six_bit(packed: *const u8, mins: bool, half: *const u8) -> __m512 {
        let low = packed.cast::<u32>().read_unaligned();
        let mid = packed.add(4).cast::<u32>().read_unaligned();
        let high = packed.add(8).cast::<u32>().read_unaligned();
        let (first, second) = if mins {
            (mid & 0x3f3f_3f3f, (high >> 4) & 0x0f0f_0f0f | (mid >> 2) & 0x3030_3030)
        } else {
            (low & 0x3f3f_3f3f, high & 0x0f0f_0f0f | (low >> 2) & 0x3030_3030)
        };
        let bytes = _mm_cvtsi64_si128((u64::from(first) | u64::from(second) << 32) as i64);
        let half = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(half.cast::<u16>().read_unaligned())));
        let values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
        _mm512_zextps256_ps512(_mm256_mul_ps(values, _mm256_broadcastss_ps(half)))
    }

    // 32 bytes as [low nibbles, high nibbles]: groups 2 part and 2 part + 1 of Q4_K and Q5_K.
    unsafe fn nibbles_of_pair(at: *const u8) -> __m512i {
        let twice = _mm512_broadcast_i64x4(_mm256_loadu_si256(at.cast()));
        let shifted = _mm512_srlv_epi64(twice, _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4));
        _mm512_and_si512(shifted, _mm512_set1_epi8(15))
    }
}

macro_rules! format {
    ($name:ident, group $group:literal, offset $offset:literal, mins $mins:literal, piece $bytes:expr,
     scales |$s_at:ident, $s_num:ident| $scales:expr,
     min |$m_at:ident, $m_num:ident| $min:expr,
     codes |$at:ident, $part:ident, $whole:ident| $codes:expr) => {
        impl Format for $name {
            const GROUP: usize = $group;
            const OFFSET: f32 = $offset;
            const MINS: bool = $mins;
            const PIECE_BYTES: usize = $bytes;

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
            unsafe fn scales($s_at: *const u8, $s_num: usize) -> __m512 {
                // SAFETY: the caller's promise.
                unsafe { $scales }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
            unsafe fn mins($m_at: *const u8, $m_num: usize) -> __m512 {
                // SAFETY: the caller's promise.
                unsafe { $min }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
            unsafe fn codes($at: *const u8, $part: usize, $whole: bool) -> __m512i {
                // SAFETY: the caller's promise.
                unsafe { $codes }
            }
        }
    };
}

/// Files store `w = d·q + m`; a min is what is subtracted.
macro_rules! negated {
    ($value:expr) => {
        _mm512_sub_ps(_mm512_setzero_ps(), $value)
    };
}

format!(Q4_0, group 32, offset 8.0, mins false, piece 8 * 18,
    scales |at, num| halves::<18>(at, 0, num),
    min |_at, _num| _mm512_setzero_ps(),
    codes |at, part, whole| nibbles_of_two(at.add(part * 36 + 2), 18, whole));

format!(Q4_1, group 32, offset 0.0, mins true, piece 8 * 20,
    scales |at, num| halves::<20>(at, 0, num),
    min |at, num| negated!(halves::<20>(at, 2, num)),
    codes |at, part, whole| nibbles_of_two(at.add(part * 40 + 4), 20, whole));

format!(Q5_0, group 32, offset 16.0, mins false, piece 8 * 22,
scales |at, num| halves::<22>(at, 0, num),
min |_at, _num| _mm512_setzero_ps(),
codes |at, part, whole| {
    let pair = at.add(part * 44);
    add_fifth(nibbles_of_two(pair.add(6), 22, whole), fifth_bits_of_two(pair.add(2), 22, whole))
});

format!(Q5_1, group 32, offset 0.0, mins true, piece 8 * 24,
scales |at, num| halves::<24>(at, 0, num),
min |at, num| negated!(halves::<24>(at, 2, num)),
codes |at, part, whole| {
    let pair = at.add(part * 48);
    add_fifth(nibbles_of_two(pair.add(8), 24, whole), fifth_bits_of_two(pair.add(4), 24, whole))
});

format!(Q8_0, group 32, offset 128.0, mins false, piece 8 * 34,
scales |at, num| halves::<34>(at, 0, num),
min |_at, _num| _mm512_setzero_ps(),
codes |at, part, whole| {
    let a = _mm256_loadu_si256(at.add(part * 68 + 2).cast());
    let b = if whole { _mm256_loadu_si256(at.add(part * 68 + 36).cast()) } else { _mm256_setzero_si256() };
    let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
    _mm512_xor_si512(both, _mm512_set1_epi8(-128))
});

// d, dmin: f16 at 0 and 2; 6-bit scales and mins at 4; Q4_K nibbles at 16; Q5_K fifth bits at 16, nibbles at 48.
format!(Q4_K, group 32, offset 0.0, mins true, piece 144,
    scales |at, _num| six_bit(at.add(4), false, at),
    min |at, _num| six_bit(at.add(4), true, at.add(2)),
    codes |at, part, _whole| nibbles_of_pair(at.add(16 + 32 * part)));

format!(Q5_K, group 32, offset 0.0, mins true, piece 176,
scales |at, _num| six_bit(at.add(4), false, at),
min |at, _num| six_bit(at.add(4), true, at.add(2)),
codes |at, part, _whole| {
    let fifth = _mm512_broadcast_i64x4(_mm256_loadu_si256(at.add(16).cast()));
    let low = _mm256_set1_epi8((1u8 << (2 * part)) as i8);
    let high = _mm256_set1_epi8((2u8 << (2 * part)) as i8);
    let bits = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
    add_fifth(nibbles_of_pair(at.add(48 + 32 * part)), _mm512_test_epi8_mask(fifth, bits))
});

// Low nibbles at 0 (128 bytes), upper two bits at 128 (64 bytes), sixteen i8 scales at 192, d: f16 at 208.
format!(Q6_K, group 16, offset 32.0, mins false, piece 210,
scales |at, _num| {
    let half = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(at.add(208).cast::<u16>().read_unaligned())));
    let scales = _mm512_cvtepi8_epi32(_mm_loadu_si128(at.add(192).cast()));
    _mm512_mul_ps(_mm512_cvtepi32_ps(scales), _mm512_broadcastss_ps(half))
},
min |_at, _num| _mm512_setzero_ps(),
codes |at, part, _whole| {
    // Columns 128 h + 64 q ..: low (q = 0) or high (q = 1) nibbles of 64 bytes, bits 4 q .. 4 q + 4 of 32 bytes.
    let (h, q) = (part / 2, part % 2);
    let nibbles = _mm512_loadu_si512(at.add(64 * h).cast());
    let low = _mm512_and_si512(_mm512_srl_epi16(nibbles, _mm_cvtsi32_si128(4 * q as i32)), _mm512_set1_epi8(15));
    let upper = _mm512_broadcast_i64x4(_mm256_loadu_si256(at.add(128 + 32 * h).cast()));
    let first = 4 * q as i64;
    let shifts = _mm512_setr_epi64(first, first, first, first, first + 2, first + 2, first + 2, first + 2);
    let two = _mm512_and_si512(_mm512_srlv_epi64(upper, shifts), _mm512_set1_epi8(3));
    _mm512_or_si512(low, _mm512_slli_epi16::<4>(two))
});
