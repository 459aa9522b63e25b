//! The ternary types: 256 elements `d * (q - 1)`.
#![allow(non_camel_case_types)] // ggml's names

use crate::float::Half;
use bytemuck::{Pod, Zeroable};

/// Five elements per byte in base 3.
///
/// A byte holds `x = ceil(n * 256 / 243)` of the five-digit number `n`; multiplying `x` by 3 pushes the leading digit out at the
/// top: digit `k` is `((x * 3^k mod 256) * 3) / 256`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct TQ1_0 {
    /// Digit `k` of byte `m < 32` is element `32 k + m`; digit `k` of byte `32 + m` (`m < 16`) is element `160 + 16 k + m`.
    pub qs: [u8; 48],
    /// Digit `k < 4` of byte `m` is element `240 + 4 k + m`.
    pub qh: [u8; 4],
    /// Scale.
    pub d: Half,
}

/// Two bits per element (so that 2 may also stand in a file).
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct TQ2_0 {
    /// Element `128 h + 32 s + l` (`s < 4`, `l < 32`) is bits `2 s` and up of byte `32 h + l`.
    pub qs: [u8; 64],
    /// Scale.
    pub d: Half,
}
