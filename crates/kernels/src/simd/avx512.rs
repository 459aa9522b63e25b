//! [`Lanes`] in AVX-512 (F, BW, DQ, VL): 16 values.

use std::arch::x86_64::*;

use super::Lanes;

/// Joins neighbours until each 128-bit part holds one partial result of each of the four vectors.
macro_rules! fold {
    ($four:expr, $join:ident) => {{
        let [a, b, c, d] = $four;
        let ab = _mm512_castps_pd($join(_mm512_unpacklo_ps(a.0, b.0), _mm512_unpackhi_ps(a.0, b.0)));
        let cd = _mm512_castps_pd($join(_mm512_unpacklo_ps(c.0, d.0), _mm512_unpackhi_ps(c.0, d.0)));
        let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
        $join(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    }};
}

/// 16 values.
#[derive(Clone, Copy)]
pub struct Avx512(pub __m512);

impl Lanes for Avx512 {
    const LEN: usize = 16;
    const SUMS: usize = 16;

    functions! {
        splat(value: f32) -> Self = Self(_mm512_set1_ps(value));
        load(at: *const f32) -> Self = Self(_mm512_loadu_ps(at));
        load_part(at: *const f32, count: usize) -> Self = Self(_mm512_maskz_loadu_ps(first(count), at));
        load_twice(at: *const f32) -> Self = {
            let order = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            Self(_mm512_permutexvar_ps(order, _mm512_castps256_ps512(_mm256_loadu_ps(at))))
        };
        load_f16(at: *const u16) -> Self = Self(_mm512_cvtph_ps(_mm256_loadu_si256(at.cast())));
        load_bf16(at: *const u16) -> Self = {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        };
        store_sums(four: [Self; 4], at: *mut f32) = {
            let all = fold!(four, _mm512_add_ps);
            let half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps::<1>(all));
            _mm_storeu_ps(at, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half)))
        };
        store_largest(four: [Self; 4], at: *mut f32) = {
            let all = fold!(four, _mm512_max_ps);
            let half = _mm256_max_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps::<1>(all));
            _mm_storeu_ps(at, _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half)))
        };
        sum_of_squares(at: *const f32, count: usize) -> f64 = {
            let mut sums = [_mm512_setzero_pd(); 2];
            let mut i = 0;
            while i < count {
                let values = Self::load_part(at.add(i), (count - i).min(16)).0;
                let low = _mm512_cvtps_pd(_mm512_castps512_ps256(values));
                let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(values));
                sums = [_mm512_fmadd_pd(low, low, sums[0]), _mm512_fmadd_pd(high, high, sums[1])];
                i += 16;
            }
            _mm512_reduce_add_pd(_mm512_add_pd(sums[0], sums[1]))
        };
    }

    methods! {
        store(self, at: *mut f32) = _mm512_storeu_ps(at, self.0);
        store_part(self, at: *mut f32, count: usize) = _mm512_mask_storeu_ps(at, first(count), self.0);
        store_f16(self, at: *mut u16) = {
            _mm256_storeu_si256(at.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0))
        };
        add(self, other: Self) -> Self = Self(_mm512_add_ps(self.0, other.0));
        sub(self, other: Self) -> Self = Self(_mm512_sub_ps(self.0, other.0));
        mul(self, other: Self) -> Self = Self(_mm512_mul_ps(self.0, other.0));
        div(self, other: Self) -> Self = Self(_mm512_div_ps(self.0, other.0));
        mul_add(self, factor: Self, addend: Self) -> Self = Self(_mm512_fmadd_ps(self.0, factor.0, addend.0));
        max(self, other: Self) -> Self = Self(_mm512_max_ps(self.0, other.0));
        min(self, other: Self) -> Self = Self(_mm512_min_ps(self.0, other.0));
        abs(self) -> Self = Self(_mm512_abs_ps(self.0));
        swap_neighbours(self) -> Self = Self(_mm512_permute_ps::<0b10_11_00_01>(self.0));
        negate_even(self) -> Self = Self(_mm512_mask_xor_ps(self.0, 0x5555, self.0, _mm512_set1_ps(-0.0)));
        round(self) -> Self = Self(_mm512_roundscale_ps::<8>(self.0));
        truncate(self) -> Self = Self(_mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(self.0));
        scale(self, n: Self) -> Self = Self(_mm512_scalef_ps(self.0, n.0));
        where_less(self, bound: Self, yes: Self, no: Self) -> Self = {
            Self(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, bound.0), no.0, yes.0))
        };
        at_least(self, bound: Self) -> u32 = u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, bound.0));
        whole_sum(self) -> i32 = _mm512_reduce_add_epi32(_mm512_cvttps_epi32(self.0));
        sum(self) -> f32 = _mm512_reduce_add_ps(self.0);
        largest(self) -> f32 = _mm512_reduce_max_ps(self.0);
    }
}

/// The low `count` bits.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}
