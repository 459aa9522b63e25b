//! `attention` compiled for AVX-512, with products in bfloat16 where there are many queries.

use device::{Feature, Shard};

use super::tile_bf16::Bf16;
use super::{Args, Attention, Desc, cpu};
use crate::kv::KvType;
use crate::scratch::with_scratch;
use crate::simd::Avx512;
use crate::variant::{Exactness, Launch, Variant};

/// Queries, keys, weights and values lose half a unit of 8 bits each; an error of a score counts twice, in the
/// weight and in the sum of weights.
const EXACTNESS: Exactness = Exactness::Rounded { rel_ppb: 8 * 1_953_125 };

/// Caches of 16-bit floats, head dimensions that are multiples of 16.
pub const VARIANT: Variant<Attention> = Variant {
    id: "attention/f16/avx512bf16",
    needs: &[Feature::Avx512Bf16],
    exactness: EXACTNESS,
    accepts: |desc| is_short(desc.layout.k) && is_short(desc.layout.v) && cpu::accepts(desc, 16),
    launch: Launch::Cpu(attention),
};

fn is_short(kv_type: KvType) -> bool {
    matches!(kv_type, KvType::F16 | KvType::Bf16)
}

type Kernels = cpu::Floats<Avx512, Bf16>;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn attention(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    with_scratch(cpu::scratch_len::<Kernels>(desc) * size_of::<f32>(), |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { cpu::attention::<Kernels>(desc, args, shard, scratch.cast()) }
    });
}
