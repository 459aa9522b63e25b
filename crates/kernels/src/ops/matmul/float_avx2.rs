//! Products of floats compiled for AVX2.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, Matmul, float, float_panel_avx2};
use crate::op::Rows;
use crate::scratch::with_scratch;
use crate::simd::Avx2;
use crate::variant::{Launch, Variant};

/// Activation rows of a tile: with four weight rows 12 sums of 16 registers.
const TILE_ROWS: usize = 3;

/// Any number of rows.
pub const VARIANT: Variant<Matmul> = Variant {
    id: "matmul/f32/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: float::accepts,
    launch: Launch::Cpu(matmul),
};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn matmul(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // By the plan's regime, not by the rows there are: the order of the sums is the same for all that a plan computes.
    if desc.rows == Rows::Many {
        // SAFETY: the caller's promise.
        return unsafe { float_panel_avx2::matmul(desc, args, shard) };
    }
    with_scratch(float::SCRATCH_BYTES, |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { float::matmul::<Avx2, TILE_ROWS>(desc, args, shard, scratch) }
    });
}
