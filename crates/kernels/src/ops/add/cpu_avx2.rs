//! `add` compiled for AVX2.

use device::{Feature, Shard};

use super::{Add, Args, Desc, cpu};
use crate::simd::Avx2;
use crate::variant::{Exactness, Launch, Variant, any};

/// Any width; one rounding per value whatever the instruction set.
pub const VARIANT: Variant<Add> = Variant {
    id: "add/f32/avx2",
    needs: &[Feature::Avx2],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(add),
};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::add::<Avx2>(desc, args, shard) }
}
