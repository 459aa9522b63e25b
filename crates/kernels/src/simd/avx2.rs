//! [`Lanes`] in AVX2 with FMA and F16C: 8 values.

use std::arch::x86_64::*;

use super::Lanes;

/// 8 values.
#[derive(Clone, Copy)]
pub struct Avx2(pub __m256);

impl Lanes for Avx2 {
    const LEN: usize = 8;
    const SUMS: usize = 8;

    functions! {
        splat(value: f32) -> Self = Self(_mm256_set1_ps(value));
        load(at: *const f32) -> Self = Self(_mm256_loadu_ps(at));
        // Masked access is slow on some CPUs (AMD: a store takes ten cycles), so only where it must be.
        load_part(at: *const f32, count: usize) -> Self = {
            if count == Self::LEN { Self::load(at) } else { Self(_mm256_maskload_ps(at, first(count))) }
        };
        load_twice(at: *const f32) -> Self = {
            let order = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
            Self(_mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(at)), order))
        };
        load_f16(at: *const u16) -> Self = Self(_mm256_cvtph_ps(_mm_loadu_si128(at.cast())));
        load_bf16(at: *const u16) -> Self = {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
        };
        store_sums(four: [Self; 4], at: *mut f32) = {
            let [a, b, c, d] = four;
            let all = _mm256_hadd_ps(_mm256_hadd_ps(a.0, b.0), _mm256_hadd_ps(c.0, d.0));
            _mm_storeu_ps(at, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all)))
        };
        store_largest(four: [Self; 4], at: *mut f32) = {
            let [a, b, c, d] = four;
            let ab = _mm256_castps_pd(_mm256_max_ps(_mm256_unpacklo_ps(a.0, b.0), _mm256_unpackhi_ps(a.0, b.0)));
            let cd = _mm256_castps_pd(_mm256_max_ps(_mm256_unpacklo_ps(c.0, d.0), _mm256_unpackhi_ps(c.0, d.0)));
            let (low, high) = (_mm256_unpacklo_pd(ab, cd), _mm256_unpackhi_pd(ab, cd));
            let all = _mm256_max_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
            _mm_storeu_ps(at, _mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all)))
        };
        sum_of_squares(at: *const f32, count: usize) -> f64 = {
            let mut sums = [_mm256_setzero_pd(); 2];
            let mut i = 0;
            while i < count {
                let values = Self::load_part(at.add(i), (count - i).min(8)).0;
                let low = _mm256_cvtps_pd(_mm256_castps256_ps128(values));
                let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(values));
                sums = [_mm256_fmadd_pd(low, low, sums[0]), _mm256_fmadd_pd(high, high, sums[1])];
                i += 8;
            }
            let mut four = [0f64; 4];
            _mm256_storeu_pd(four.as_mut_ptr(), _mm256_add_pd(sums[0], sums[1]));
            (four[0] + four[1]) + (four[2] + four[3])
        };
    }

    methods! {
        store(self, at: *mut f32) = _mm256_storeu_ps(at, self.0);
        store_part(self, at: *mut f32, count: usize) = {
            if count == Self::LEN { self.store(at) } else { _mm256_maskstore_ps(at, first(count), self.0) }
        };
        store_f16(self, at: *mut u16) = {
            _mm_storeu_si128(at.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0))
        };
        add(self, other: Self) -> Self = Self(_mm256_add_ps(self.0, other.0));
        sub(self, other: Self) -> Self = Self(_mm256_sub_ps(self.0, other.0));
        mul(self, other: Self) -> Self = Self(_mm256_mul_ps(self.0, other.0));
        div(self, other: Self) -> Self = Self(_mm256_div_ps(self.0, other.0));
        mul_add(self, factor: Self, addend: Self) -> Self = Self(_mm256_fmadd_ps(self.0, factor.0, addend.0));
        max(self, other: Self) -> Self = Self(_mm256_max_ps(self.0, other.0));
        min(self, other: Self) -> Self = Self(_mm256_min_ps(self.0, other.0));
        abs(self) -> Self = Self(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0));
        swap_neighbours(self) -> Self = Self(_mm256_permute_ps::<0b10_11_00_01>(self.0));
        negate_even(self) -> Self = {
            Self(_mm256_xor_ps(self.0, _mm256_setr_ps(-0.0, 0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0)))
        };
        round(self) -> Self = Self(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0));
        truncate(self) -> Self = Self(_mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(self.0));
        scale(self, n: Self) -> Self = {
            // In two factors: one alone would leave the range of the exponent.
            let n = _mm256_cvtps_epi32(n.0);
            let half = _mm256_srai_epi32::<1>(n);
            Self(_mm256_mul_ps(_mm256_mul_ps(self.0, power(half)), power(_mm256_sub_epi32(n, half))))
        };
        where_less(self, bound: Self, yes: Self, no: Self) -> Self = {
            Self(_mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, bound.0)))
        };
        at_least(self, bound: Self) -> u32 = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(self.0, bound.0)) as u32;
        whole_sum(self) -> i32 = {
            let eight = _mm256_cvttps_epi32(self.0);
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b_00_00_00_01>(two)))
        };
        sum(self) -> f32 = {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        };
        largest(self) -> f32 = {
            let four = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        };
    }
}

/// All ones in the first `count` lanes.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    // SAFETY: the promises of `Lanes`.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

/// `2^n` for n in -126..=127.
#[inline(always)]
unsafe fn power(n: __m256i) -> __m256 {
    // SAFETY: the promises of `Lanes`.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127)))) }
}
