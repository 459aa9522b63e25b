//! `attention` over quantised caches, compiled for AVX-512 with VNNI and for AVX2.

use std::ops::Range;

use device::{Feature, Shard};

use super::bytes::{Chunk, Pass, Weights};
use super::{Args, Attention, Desc, bytes, cpu};
use crate::scratch::with_scratch;
use crate::simd::{Avx2, Avx512};
use crate::variant::{Exactness, Launch, Variant};

/// What queries and weights lose beside the cache's own rounding: half a code of 127 and of 240, and as much
/// again where dither moves a weight; an error of a score counts twice, in the weight and in the sum of weights.
const EXACTNESS: Exactness = Exactness::Rounded { rel_ppb: 2 * 3_937_008 + 2 * 4_166_667 };

/// With `vpdpbusd`; head dimensions that are multiples of 16, of values in 4 bits multiples of 32.
pub const AVX512VNNI: Variant<Attention> = Variant {
    id: "attention/q8_0/avx512vnni",
    needs: &[Feature::Avx512Vnni],
    exactness: EXACTNESS,
    accepts: |desc| bytes::accepts(desc, 16),
    launch: Launch::Cpu(avx512vnni),
};

/// With products of 16 bits; head dimensions that are multiples of 8, of values in 4 bits multiples of 16.
pub const AVX2: Variant<Attention> = Variant {
    id: "attention/q8_0/avx2",
    needs: &[Feature::Avx2],
    exactness: EXACTNESS,
    accepts: |desc| bytes::accepts(desc, 8),
    launch: Launch::Cpu(avx2),
};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn avx512vnni(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    with_scratch(cpu::scratch_len::<cpu::Codes<Avx512>>(desc) * size_of::<f32>(), |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { cpu::attention::<cpu::Codes<Avx512>>(desc, args, shard, scratch.cast()) }
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    with_scratch(cpu::scratch_len::<cpu::Codes<Avx2>>(desc) * size_of::<f32>(), |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { cpu::attention::<cpu::Codes<Avx2>>(desc, args, shard, scratch.cast()) }
    });
}

/// [`Pass::chunk`] for codes that are in the first-level cache already.
///
/// # Safety
/// See [`Pass`]; the CPU must have AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn chunk_avx512vnni<W: Weights>(pass: &Pass<'_>, chunk: &Chunk, some: Range<usize>) {
    // SAFETY: the caller's promise; the features are enabled above.
    unsafe { pass.chunk::<Avx512, W>(chunk, &Chunk::NONE, some) }
}
