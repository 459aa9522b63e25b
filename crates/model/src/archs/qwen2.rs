//! Qwen 2 and 2.5 (arXiv 2407.10671): Llama with biases on q, k and v, which the file shows.

use crate::arch::{Arch, Block, Grouped};

/// Rotates halves.
pub const QWEN2: Arch =
    Arch { name: "qwen2", cycle: &[Block { attention: Grouped::NEOX, ..Block::LLAMA }], ..Arch::LLAMA };
