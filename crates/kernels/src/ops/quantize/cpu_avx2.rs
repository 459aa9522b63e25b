//! `quantize` in AVX2.

use std::arch::x86_64::*;

use device::{Feature, Shard};

use super::cpu::{self, Block};
use super::{Args, Codes, Desc, EXACTNESS, Quantize};
use crate::fault;
use crate::variant::{Launch, Variant};

/// Any width.
pub const VARIANT: Variant<Quantize> = Variant {
    id: "quantize/q8/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: |desc| desc.codes == Codes::Int8,
    launch: Launch::Cpu(quantize),
};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quantize(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::quantize::<Avx2>(desc, args, shard) }
}

enum Avx2 {}

impl Block for Avx2 {
    #[inline(always)]
    unsafe fn quantize(x: *const f32, codes: *mut i8, scale: *mut f32, sums: *mut i16) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            let mut values = [_mm256_setzero_ps(); 4];
            let (mut largest, mut finite) = (_mm256_setzero_ps(), _mm256_castsi256_ps(_mm256_set1_epi32(-1)));
            for (i, value) in values.iter_mut().enumerate() {
                *value = _mm256_loadu_ps(x.add(8 * i));
                let size = _mm256_andnot_ps(_mm256_set1_ps(-0.0), *value);
                largest = _mm256_max_ps(size, largest);
                let below = _mm256_cmp_ps::<_CMP_LT_OQ>(size, _mm256_set1_ps(f32::INFINITY));
                finite = _mm256_and_ps(finite, below);
            }
            let four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps::<1>(largest));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            let largest = _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
            let finite = _mm256_movemask_ps(finite) == 0xff;
            let (step, inverse) = super::reference::scale(largest, finite);
            *scale = step;
            // Values that are not finite must not become codes either.
            let keep = _mm256_set1_epi32(if inverse == 0.0 { 0 } else { -1 });
            for half in 0..2 {
                let low = _mm256_mul_ps(values[2 * half], _mm256_set1_ps(inverse));
                let high = _mm256_mul_ps(values[2 * half + 1], _mm256_set1_ps(inverse));
                let low = _mm256_and_si256(_mm256_cvtps_epi32(low), keep);
                let high = _mm256_and_si256(_mm256_cvtps_epi32(high), keep);
                // Packing works within 128-bit parts: 0-3 8-11 | 4-7 12-15, put right by the permutation.
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
                let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(codes.add(16 * half).cast(), bytes);
                let sum = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
                let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
                let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
                let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
                *sums.add(half) = _mm_cvtsi128_si32(sum) as i16;
            }
            finite && fault::is_sound(largest)
        }
    }
}
