//! `softcap` compiled for AVX2.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, Softcap, cpu};
use crate::simd::Avx2;
use crate::variant::{Launch, Variant, any};

/// Any width.
pub const VARIANT: Variant<Softcap> = Variant {
    id: "softcap/f32/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(softcap),
};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn softcap(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::softcap::<Avx2>(desc, args, shard) }
}
