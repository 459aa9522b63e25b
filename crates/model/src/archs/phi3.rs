//! Phi 3 and 3.5 (arXiv 2404.14219): fused projections and LongRoPE factors, both shown by the file.
//! Its sliding window is not applied: converters do not say which layers have one.

use crate::arch::{Arch, Block, Grouped};

/// Rotates halves.
pub const PHI3: Arch =
    Arch { name: "phi3", cycle: &[Block { attention: Grouped::NEOX, ..Block::LLAMA }], ..Arch::LLAMA };
