//! Products of floats compiled for AVX-512.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, Matmul, float};
use crate::scratch::with_scratch;
use crate::simd::Avx512;
use crate::variant::{Launch, Variant};

/// Activation rows of a tile: with four weight rows 24 sums of 32 registers.
const TILE_ROWS: usize = 6;

/// Any number of rows.
pub const VARIANT: Variant<Matmul> = Variant {
    id: "matmul/f32/avx512",
    needs: &[Feature::Avx512],
    exactness: EXACTNESS,
    accepts: float::accepts,
    launch: Launch::Cpu(matmul),
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn matmul(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    with_scratch(float::SCRATCH_BYTES, |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { float::matmul::<Avx512, TILE_ROWS>(desc, args, shard, scratch) }
    });
}
