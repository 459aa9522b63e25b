//! Vectors of 32-bit integers and dot products of bytes, over the same registers as [`Lanes`].

use std::arch::x86_64::*;

use super::{Avx2, Avx512, Lanes};

/// Dot products of bytes. The sums are exact, so all implementations give the same numbers.
///
/// # Safety
/// As [`Lanes`]; AVX-512 needs VNNI as well.
#[expect(clippy::missing_safety_doc, reason = "said once, above, for all functions")]
pub trait Dots: Lanes {
    /// A register of `LEN` 32-bit integers, or of four times as many bytes.
    type Ints: Copy;
    /// Queries whose sums fit into the registers beside each other, with [`Dots::WIDE`] sums each.
    const QUERIES: usize;
    /// Registers of sums per query.
    const WIDE: usize;

    /// The same integer everywhere.
    unsafe fn ints(value: i32) -> Self::Ints;
    /// `4 * LEN` bytes.
    unsafe fn load_bytes(at: *const u8) -> Self::Ints;
    /// The same four bytes in every lane.
    unsafe fn splat_four(at: *const u8) -> Self::Ints;
    /// Adds to each lane the dot product of its four unsigned and its four signed bytes.
    unsafe fn dot4(sums: Self::Ints, unsigned: Self::Ints, signed: Self::Ints) -> Self::Ints;
    /// The low and the high halves of every byte.
    unsafe fn nibbles(bytes: Self::Ints) -> [Self::Ints; 2];
    /// 8 less in every byte.
    unsafe fn less_eight(bytes: Self::Ints) -> Self::Ints;
    /// To floats.
    unsafe fn float(ints: Self::Ints) -> Self;
    /// The bits of floats, taken as integers, to floats.
    unsafe fn bits(self) -> Self;
    /// Rounds values in 0..=255 to whole numbers, ties to even, and writes `4 * LEN` bytes.
    unsafe fn store_bytes(four: [Self; 4], at: *mut u8);
}

/// A little less than the binary logarithm of a positive normal number, by at most 0.0861: exact at powers of
/// two and linear between them.
///
/// # Safety
/// See [`Lanes`].
#[inline(always)]
pub unsafe fn log2_below<V: Dots>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { x.bits().mul_add(V::splat(1.0 / (1 << 23) as f32), V::splat(-127.0)) }
}

impl Dots for Avx512 {
    type Ints = __m512i;
    const QUERIES: usize = 6;
    const WIDE: usize = 4;

    functions! {
        ints(value: i32) -> __m512i = _mm512_set1_epi32(value);
        load_bytes(at: *const u8) -> __m512i = _mm512_loadu_si512(at.cast());
        splat_four(at: *const u8) -> __m512i = _mm512_set1_epi32(at.cast::<i32>().read_unaligned());
        dot4(sums: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i = {
            _mm512_dpbusd_epi32(sums, unsigned, signed)
        };
        nibbles(bytes: __m512i) -> [__m512i; 2] = {
            let low = _mm512_set1_epi8(15);
            [_mm512_and_si512(bytes, low), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low)]
        };
        less_eight(bytes: __m512i) -> __m512i = _mm512_sub_epi8(bytes, _mm512_set1_epi8(8));
        float(ints: __m512i) -> Self = Self(_mm512_cvtepi32_ps(ints));
        store_bytes(four: [Self; 4], at: *mut u8) = {
            let [a, b, c, d] = four;
            let low = _mm512_packs_epi32(_mm512_cvtps_epi32(a.0), _mm512_cvtps_epi32(b.0));
            let high = _mm512_packs_epi32(_mm512_cvtps_epi32(c.0), _mm512_cvtps_epi32(d.0));
            // Packing goes within 128 bits: four bytes of each vector stand there beside each other.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_storeu_si512(at.cast(), _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high)))
        };
    }

    methods! {
        bits(self) -> Self = Self(_mm512_cvtepi32_ps(_mm512_castps_si512(self.0)));
    }
}

impl Dots for Avx2 {
    type Ints = __m256i;
    const QUERIES: usize = 2;
    const WIDE: usize = 2;

    functions! {
        ints(value: i32) -> __m256i = _mm256_set1_epi32(value);
        load_bytes(at: *const u8) -> __m256i = _mm256_loadu_si256(at.cast());
        splat_four(at: *const u8) -> __m256i = _mm256_set1_epi32(at.cast::<i32>().read_unaligned());
        // `vpmaddubsw` would saturate: 255 * 127 twice is more than 16 bits hold. So bytes 0 and 2, and bytes
        // 1 and 3, are widened to 16 bits and multiplied by themselves.
        dot4(sums: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i = {
            let even = _mm256_and_si256(unsigned, _mm256_set1_epi16(255));
            let odd = _mm256_srli_epi16::<8>(unsigned);
            let signed_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(signed));
            let signed_odd = _mm256_srai_epi16::<8>(signed);
            let products = _mm256_add_epi32(_mm256_madd_epi16(even, signed_even), _mm256_madd_epi16(odd, signed_odd));
            _mm256_add_epi32(sums, products)
        };
        nibbles(bytes: __m256i) -> [__m256i; 2] = {
            let low = _mm256_set1_epi8(15);
            [_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low)]
        };
        less_eight(bytes: __m256i) -> __m256i = _mm256_sub_epi8(bytes, _mm256_set1_epi8(8));
        float(ints: __m256i) -> Self = Self(_mm256_cvtepi32_ps(ints));
        store_bytes(four: [Self; 4], at: *mut u8) = {
            let [a, b, c, d] = four;
            let low = _mm256_packs_epi32(_mm256_cvtps_epi32(a.0), _mm256_cvtps_epi32(b.0));
            let high = _mm256_packs_epi32(_mm256_cvtps_epi32(c.0), _mm256_cvtps_epi32(d.0));
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_storeu_si256(at.cast(), _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order))
        };
    }

    methods! {
        bits(self) -> Self = Self(_mm256_cvtepi32_ps(_mm256_castps_si256(self.0)));
    }
}
