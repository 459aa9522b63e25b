//! `add` compiled for AVX-512.

use device::{Feature, Shard};

use super::{Add, Args, Desc, cpu};
use crate::simd::Avx512;
use crate::variant::{Exactness, Launch, Variant, any};

/// Any width; one rounding per value whatever the instruction set.
pub const VARIANT: Variant<Add> = Variant {
    id: "add/f32/avx512",
    needs: &[Feature::Avx512],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(add),
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn add(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::add::<Avx512>(desc, args, shard) }
}
