//! `rope` compiled for AVX2.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, Rope, cpu};
use crate::simd::Avx2;
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Rope> = Variant {
    id: "rope/f32/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(rope),
};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rope(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::rope::<Avx2>(desc, args, shard) }
}
