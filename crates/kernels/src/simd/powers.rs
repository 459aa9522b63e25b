//! Powers of two in 16-bit integers, 32 at a time: weights that become bytes.

use std::arch::x86_64::*;

use super::Avx512;

/// Steps of an exponent in one power of two.
pub const STEPS: f32 = 2048.0;

impl Avx512 {
    /// Writes `255 · 2^(x / STEPS)` for 64 values x ≤ 0, to 1 in 500, as bytes, and returns them. From -16 powers of two down it
    /// is 0, for NaN anything. `dither`, in 256ths of a byte and in the order of [`Avx512::order_of_powers`], is added before
    /// the rest is cut off.
    ///
    /// # Safety
    /// See [`super::Lanes`]; there must be 64 values of `dither`.
    #[inline(always)]
    pub unsafe fn store_powers([a, b, c, d]: [Self; 4], dither: *const u16, at: *mut u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let low = power(_mm512_packs_epi32(_mm512_cvtps_epi32(a.0), _mm512_cvtps_epi32(b.0)));
            let high = power(_mm512_packs_epi32(_mm512_cvtps_epi32(c.0), _mm512_cvtps_epi32(d.0)));
            let low = _mm512_adds_epu16(low, _mm512_loadu_si512(dither.cast()));
            let high = _mm512_adds_epu16(high, _mm512_loadu_si512(dither.add(32).cast()));
            let bytes = _mm512_packus_epi16(_mm512_srli_epi16::<8>(low), _mm512_srli_epi16::<8>(high));
            // Packing goes within 128 bits: four bytes of each vector stand there beside each other.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            _mm512_storeu_si512(at.cast(), bytes);
            bytes
        }
    }

    /// Which of 64 values is the n-th while they are 16-bit integers.
    pub const fn order_of_powers(n: usize) -> usize {
        n / 32 * 32 + n % 8 / 4 * 16 + n % 32 / 8 * 4 + n % 4
    }
}

/// `255 · 2^(x / 2048)` in 256ths. What is left of the exponent below its whole part, g in 0..1, goes into a quadratic minimax fit
/// of `2^-g`, in 2^-16.
#[inline(always)]
unsafe fn power(x: __m512i) -> __m512i {
    // SAFETY: the promises of `Lanes`.
    unsafe {
        let x = _mm512_sub_epi16(_mm512_setzero_si512(), x);
        let g = _mm512_slli_epi16::<5>(x);
        let slope =
            _mm512_sub_epi16(_mm512_set1_epi16(43_477_u16 as i16), _mm512_mulhi_epu16(g, _mm512_set1_epi16(11_006)));
        let whole = _mm512_sub_epi16(_mm512_set1_epi16(65_167_u16 as i16), _mm512_mulhi_epu16(g, slope));
        _mm512_srlv_epi16(whole, _mm512_srli_epi16::<11>(x))
    }
}
