//! Qwen 3 (arXiv 2505.09388): every query and key head is normalised before RoPE.

use crate::arch::{Arch, Block, Grouped};

/// Rotates halves, normalises heads.
pub const QWEN3: Arch = Arch {
    name: "qwen3",
    cycle: &[Block { attention: Grouped { qk_norm: true, ..Grouped::NEOX }, ..Block::LLAMA }],
    ..Arch::LLAMA
};
