//! The kernel: tiles of many queries over codes made of a chunk of keys and values at a time. The walk over heads and
//! tiles, and the products of bytes, are the baseline's (`kernels/ops/attention`).
#![allow(unsafe_code)]

use std::ops::Range;

use device::{Feature, Shard};
use kernels::fault::Faults;
use kernels::ops::Attention;
use kernels::ops::attention::bytes::{self, CHUNK, Pass, Powers};
use kernels::ops::attention::cpu::{self, Form};
use kernels::ops::attention::cpu_avx512::Compiled as Full;
use kernels::ops::attention::cpu_bytes::chunk_avx512vnni;
use kernels::ops::attention::head::Head;
use kernels::ops::attention::{Args, Desc};
use kernels::scratch::with_scratch;
use kernels::simd::{Avx512, Lanes};
use kernels::{KvType, Launch, Variant};

use super::EXACTNESS;
use super::cpu_codes::{Codes, SINKS};

/// Keys whose mean all keys lose: the first that a step sees. With fewer there is nothing to gain.
pub const MEAN_KEYS: usize = 64;

/// Queries of a tile: many, because codes are made anew for each tile.
const PAIRS: usize = 512;

/// With `vpdpbusd`, over caches of 16-bit floats.
pub const AVX512VNNI: Variant<Attention> = Variant {
    id: "attention/sage/avx512vnni",
    needs: &[Feature::Avx512Vnni],
    exactness: EXACTNESS,
    accepts: |desc| is_short(desc.layout.k) && is_short(desc.layout.v) && cpu::accepts(desc, Avx512::LEN),
    launch: Launch::Cpu(avx512vnni),
};

fn is_short(kv_type: KvType) -> bool {
    matches!(kv_type, KvType::F16 | KvType::Bf16)
}

/// Tiles in bytes. Few queries are bound by reading the cache, so these, and steps that see too few keys for a mean,
/// take the kernels for floats.
enum Sage {}

impl Form for Sage {
    const TILE: usize = PAIRS;

    fn scratch_len(desc: &Desc) -> usize {
        Full::scratch_len(desc).max(bytes::scratch_len(desc, PAIRS) + Codes::len(desc))
    }

    #[inline(always)]
    unsafe fn part(head: &Head<'_>, keys: Range<usize>, scratch: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { Full::part(head, keys, scratch) }
    }

    #[inline(always)]
    unsafe fn tile(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults {
        // SAFETY: the caller's promise.
        unsafe {
            let seen = head.keys(&(0..head.num_pairs()));
            if seen.len() < MEAN_KEYS {
                return floats(head, pairs, scratch);
            }
            tile(head, pairs, seen.start, scratch)
        }
    }
}

/// A tile in floats, in pieces of the size that its kernel takes.
#[inline(always)]
unsafe fn floats(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults {
    let mut faults = Faults::NONE;
    for start in pairs.clone().step_by(Full::TILE) {
        // SAFETY: the caller's promise.
        faults = faults.and(unsafe { Full::tile(head, start..pairs.end.min(start + Full::TILE), scratch) });
    }
    faults
}

/// A tile in bytes; the mean is that of [`MEAN_KEYS`] keys from `first` on.
#[inline(always)]
unsafe fn tile(head: &Head<'_>, pairs: Range<usize>, first: usize, scratch: *mut f32) -> Faults {
    let keys = head.keys(&pairs);
    // SAFETY: the caller's promise.
    unsafe {
        let codes = Codes::within(scratch.add(bytes::scratch_len(head.desc, PAIRS)), head.desc);
        let mean = codes.mean(head, first..first + MEAN_KEYS);
        let pass = Pass::begin(head, pairs.clone(), mean, scratch, PAIRS);
        let mut start = keys.start;
        while start < keys.end {
            let mut chunk = codes.chunk(head, start, keys.end, mean);
            // Scales per channel come of all tokens of a chunk, so only who sees them all may use them: what a query is answered
            // depends neither on later tokens nor on the tile.
            let whole = start >= SINKS && chunk.count == CHUNK;
            let seeing = if whole { head.seeing(&pairs, &(start..chunk.end())) } else { 0..0 };
            if !seeing.is_empty() {
                codes.values(head, &mut chunk, true);
                chunk_avx512vnni::<Powers>(&pass, &chunk, seeing.clone());
            }
            if seeing.len() < pairs.len() {
                codes.values(head, &mut chunk, false);
                chunk_avx512vnni::<Avx512>(&pass, &chunk, 0..seeing.start);
                chunk_avx512vnni::<Avx512>(&pass, &chunk, seeing.end..pairs.len());
            }
            start = chunk.end();
        }
        pass.end();
        head.finish(pairs, scratch)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn avx512vnni(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    with_scratch(cpu::scratch_len::<Sage>(desc) * size_of::<f32>(), |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { cpu::attention::<Sage>(desc, args, shard, scratch.cast()) }
    });
}
