//! `attention` compiled for AVX-512.

use std::ops::Range;

use device::{Feature, Shard};

use super::cpu::Form;
use super::head::Head;
use super::tile_f32::Full;
use super::{Args, Attention, Desc, EXACTNESS, cpu};
use crate::fault::Faults;
use crate::scratch::with_scratch;
use crate::simd::Avx512;
use crate::variant::{Launch, Variant};

/// Head dimensions that are multiples of 16.
pub const VARIANT: Variant<Attention> = Variant {
    id: "attention/any/avx512",
    needs: &[Feature::Avx512],
    exactness: EXACTNESS,
    accepts: |desc| cpu::accepts(desc, 16),
    launch: Launch::Cpu(attention),
};

type Kernels = cpu::Floats<Avx512, Full<8>>;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn attention(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    with_scratch(cpu::scratch_len::<Kernels>(desc) * size_of::<f32>(), |scratch| {
        // SAFETY: the caller's promise; the features are enabled above, also for closures.
        unsafe { cpu::attention::<Kernels>(desc, args, shard, scratch.cast()) }
    });
}

/// [`Form`] of these kernels as functions of their own: what a technique for some shapes falls back on for others.
pub enum Compiled {}

impl Form for Compiled {
    const TILE: usize = Kernels::TILE;

    fn scratch_len(desc: &Desc) -> usize {
        Kernels::scratch_len(desc)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn part(head: &Head<'_>, keys: Range<usize>, scratch: *mut f32) {
        // SAFETY: the caller's promise; the features are enabled above.
        unsafe { Kernels::part(head, keys, scratch) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn tile(head: &Head<'_>, pairs: Range<usize>, scratch: *mut f32) -> Faults {
        // SAFETY: as above.
        unsafe { Kernels::tile(head, pairs, scratch) }
    }
}
