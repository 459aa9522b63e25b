//! `norm` compiled for AVX2.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, Norm, cpu};
use crate::simd::Avx2;
use crate::variant::{Launch, Variant, any};

/// Any width.
pub const VARIANT: Variant<Norm> = Variant {
    id: "norm/f32/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(norm),
};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn norm(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::norm::<Avx2>(desc, args, shard) }
}
