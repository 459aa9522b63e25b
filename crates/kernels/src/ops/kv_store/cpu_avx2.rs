//! `kv_store` compiled for AVX2.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, KvStore, cpu};
use crate::simd::Avx2;
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<KvStore> = Variant {
    id: "kv_store/any/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(kv_store),
};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn kv_store(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::kv_store::<Avx2>(desc, args, shard) }
}
