//! `glu` compiled for AVX-512.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, Glu, cpu};
use crate::simd::Avx512;
use crate::variant::{Launch, Variant, any};

/// Any width.
pub const VARIANT: Variant<Glu> = Variant {
    id: "glu/f32/avx512",
    needs: &[Feature::Avx512],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(glu),
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn glu(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::glu::<Avx512>(desc, args, shard) }
}
