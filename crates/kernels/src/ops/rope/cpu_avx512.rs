//! `rope` compiled for AVX-512.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, Rope, cpu};
use crate::simd::Avx512;
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<Rope> = Variant {
    id: "rope/f32/avx512",
    needs: &[Feature::Avx512],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(rope),
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn rope(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::rope::<Avx512>(desc, args, shard) }
}
