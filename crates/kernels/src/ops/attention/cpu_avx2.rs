//! `attention` compiled for AVX2.

use device::{Feature, Shard};

use super::tile_f32::Full;
use super::{Args, Attention, Desc, EXACTNESS, cpu};
use crate::scratch::with_scratch;
use crate::simd::Avx2;
use crate::variant::{Launch, Variant};

/// Head dimensions that are multiples of 8.
pub const VARIANT: Variant<Attention> = Variant {
    id: "attention/any/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: |desc| cpu::accepts(desc, 8),
    launch: Launch::Cpu(attention),
};

type Kernels = cpu::Floats<Avx2, Full<4>>;

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn attention(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    with_scratch(cpu::scratch_len::<Kernels>(desc) * size_of::<f32>(), |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { cpu::attention::<Kernels>(desc, args, shard, scratch.cast()) }
    });
}
