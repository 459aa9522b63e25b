//! `kv_store` compiled for AVX-512.

use device::{Feature, Shard};

use super::{Args, Desc, EXACTNESS, KvStore, cpu};
use crate::simd::Avx512;
use crate::variant::{Launch, Variant, any};

/// Any shape.
pub const VARIANT: Variant<KvStore> = Variant {
    id: "kv_store/any/avx512",
    needs: &[Feature::Avx512],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(kv_store),
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn kv_store(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { cpu::kv_store::<Avx512>(desc, args, shard) }
}
