//! The FP4 types: E2M1 elements (see [`FP4_VALUES`](super::grid::FP4_VALUES)) under scales of eight bits.

use bytemuck::{Pod, Zeroable};

/// 32 elements: `2^(e - 127) * E2M1`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct MXFP4 {
    /// Exponent of the scale (E8M0).
    pub e: u8,
    /// Byte `j`: element `j` in the low nibble, element `j + 16` in the high one.
    pub qs: [u8; 16],
}

/// 64 elements, 4 groups of 16: `d * E2M1`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct NVFP4 {
    /// Scale of group `g` (unsigned E4M3).
    pub d: [u8; 4],
    /// Byte `8 g + j`: element `16 g + j` in the low nibble, element `16 g + 8 + j` in the high one.
    pub qs: [u8; 32],
}
