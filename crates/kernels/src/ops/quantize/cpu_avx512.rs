//! `quantize` in AVX-512.

use std::arch::x86_64::*;

use device::{Feature, Shard};

use super::cpu::{self, Block};
use super::{Args, Codes, Desc, EXACTNESS, Quantize};
use crate::fault;
use crate::variant::{Launch, Variant};

/// Any width.
pub const VARIANT: Variant<Quantize> = Variant {
    id: "quantize/q8/avx512",
    needs: &[Feature::Avx512],
    exactness: EXACTNESS,
    accepts: |desc| desc.codes == Codes::Int8,
    launch: Launch::Cpu(quantize),
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn quantize(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::quantize::<Avx512>(desc, args, shard) }
}

enum Avx512 {}

impl Block for Avx512 {
    #[inline(always)]
    unsafe fn quantize(x: *const f32, codes: *mut i8, scale: *mut f32, sums: *mut i16) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            let x = [_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(16))];
            let size = [_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])];
            let infinity = _mm512_set1_ps(f32::INFINITY);
            let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(size[0], infinity)
                & _mm512_cmp_ps_mask::<_CMP_LT_OQ>(size[1], infinity)
                == u16::MAX;
            let largest = _mm512_reduce_max_ps(_mm512_max_ps(size[0], size[1]));
            let (step, inverse) = super::reference::scale(largest, finite);
            *scale = step;
            // Values that are not finite must not become codes either.
            let keep = if inverse == 0.0 { 0 } else { u16::MAX };
            for (half, x) in x.into_iter().enumerate() {
                let scaled = _mm512_mul_ps(x, _mm512_set1_ps(inverse));
                let rounded = _mm512_maskz_cvtps_epi32(keep, scaled);
                _mm_storeu_si128(codes.add(16 * half).cast(), _mm512_cvtepi32_epi8(rounded));
                *sums.add(half) = _mm512_reduce_add_epi32(rounded) as i16;
            }
            finite && fault::is_sound(largest)
        }
    }
}
