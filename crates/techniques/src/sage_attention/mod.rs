//! SageAttention on the CPU: prefill in products of bytes over a cache of 16-bit floats, whose keys first lose their
//! mean. README.md beside this file gives the idea and the figures.

#[cfg(target_arch = "x86_64")]
mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpu_codes;
#[cfg(test)]
mod tests;

use device::Feature;
use engine::technique::{Provide, Stage, Technique};
use kernels::Exactness;

/// The row of the catalogue.
pub const TECHNIQUE: Technique = Technique {
    id: "sage_attention",
    title: "attention in 8-bit integers, keys smoothed",
    papers: &["arXiv:2410.02367", "arXiv:2409.16997"],
    stage: Stage::Preview,
    exactness: EXACTNESS,
    summary: "computes both products of prefill attention in bytes; keys lose their mean first, which softmax does not notice",
    needs: &[&[Feature::Avx512Vnni]],
    conflicts: &[],
    knobs: &[],
    provides: &[
        #[cfg(target_arch = "x86_64")]
        Provide::Variant(&cpu::AVX512VNNI),
    ],
};

/// Queries, keys and values lose half a code of 127, weights half of 240 and as much again by dither; a key that lost
/// the mean may be twice as large as before; an error of a score counts twice, in the weight and in the sum of weights, and so
/// does that of a power of two in 16 bits.
const EXACTNESS: Exactness =
    Exactness::Rounded { rel_ppb: 2 * (3 * 3_937_008) + 3_937_008 + 2 * 4_166_667 + 2 * 1_724_763 };
