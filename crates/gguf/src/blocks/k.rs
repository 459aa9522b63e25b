//! The K types: super-blocks of 256 elements whose group scales are themselves quantised.
#![allow(non_camel_case_types)] // ggml's names

use crate::float::Half;
use bytemuck::{Pod, Zeroable};

/// 16 groups of 16 elements of two bits: `d * scale * q - dmin * min`.
///
/// In every K type but Q8_K, halves of 128 elements are stored one after the other, and within a half the elements that share
/// a byte lie 32 apart (64 apart in the nibbles of Q6_K).
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q2_K {
    /// Group `g`: its scale in the low nibble, its min in the high one.
    pub scales: [u8; 16],
    /// Element `128 h + 32 s + l` (`s < 4`, `l < 32`) is bits `2 s` and up of byte `32 h + l`.
    pub qs: [u8; 64],
    /// Scale of the scales.
    pub d: Half,
    /// Scale of the mins.
    pub dmin: Half,
}

/// 16 groups of 16 elements of three bits: `d * (scale - 32) * (q - 4)`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q3_K {
    /// Third bit: element `128 h + 32 s + l` is bit `4 h + s` of byte `l`.
    pub hmask: [u8; 32],
    /// Low two bits, placed as in [`Q2_K`].
    pub qs: [u8; 64],
    /// Sixteen scales of six bits, unpacked by [`q3_k_scales`].
    pub scales: [u8; 12],
    /// Scale of the scales.
    pub d: Half,
}

/// 8 groups of 32 elements of four bits: `d * scale * q - dmin * min`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q4_K {
    /// Scale of the scales.
    pub d: Half,
    /// Scale of the mins.
    pub dmin: Half,
    /// Eight scales and eight mins of six bits, unpacked by [`k_scales_and_mins`].
    pub scales: [u8; 12],
    /// Byte `32 p + l` (`p < 4`): element `64 p + l` in the low nibble, element `64 p + 32 + l` in the high one.
    pub qs: [u8; 128],
}

/// 8 groups of 32 elements of five bits: `d * scale * q - dmin * min`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q5_K {
    /// Scale of the scales.
    pub d: Half,
    /// Scale of the mins.
    pub dmin: Half,
    /// Eight scales and eight mins of six bits, unpacked by [`k_scales_and_mins`].
    pub scales: [u8; 12],
    /// Fifth bit: element `32 g + l` is bit `g` of byte `l`.
    pub qh: [u8; 32],
    /// Low four bits, placed as in [`Q4_K`].
    pub qs: [u8; 128],
}

/// 16 groups of 16 elements of six bits: `d * scale * (q - 32)`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q6_K {
    /// Low four bits. Byte `64 h + l` (`l < 64`): element `128 h + l` in the low nibble, element `128 h + 64 + l` in the high one.
    pub ql: [u8; 128],
    /// High two bits: element `128 h + 32 s + l` (`s < 4`, `l < 32`) is bits `2 s` and up of byte `32 h + l`.
    pub qh: [u8; 64],
    /// Scale of group `g`.
    pub scales: [i8; 16],
    /// Scale of the scales.
    pub d: Half,
}

/// 256 elements of eight bits, `d * q`, with sums: the form ggml gives activations; rare in files.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q8_K {
    /// Scale, a little-endian `f32`.
    pub d: [u8; 4],
    /// The elements in order.
    pub qs: [i8; 256],
    /// Sums of 16 elements each, little-endian `i16`; not needed to decode.
    pub bsums: [[u8; 2]; 16],
}

/// The eight scales and eight mins of Q4_K and Q5_K, 0..=63 each.
///
/// Bytes 0..4 hold scales 0..4, bytes 4..8 mins 0..4 (low six bits each). Scales and mins 4..8 have their low four bits in the
/// nibbles of bytes 8..12 (scale low, min high) and their high two bits on top of bytes 0..4 and 4..8.
#[inline(always)]
pub fn k_scales_and_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for i in 0..4 {
        let (scale, min, low) = (packed[i], packed[i + 4], packed[i + 8]);
        scales[i] = scale & 63;
        mins[i] = min & 63;
        scales[i + 4] = low & 15 | (scale >> 6) << 4;
        mins[i + 4] = low >> 4 | (min >> 6) << 4;
    }
    (scales, mins)
}

/// The sixteen scales of Q3_K, -32..=31.
///
/// The low four bits of scale `i` are in byte `i % 8`, low nibble for `i < 8`, high nibble above; its high two bits are bits
/// `2 * (i / 4)` and up of byte `8 + i % 4`.
#[inline(always)]
pub fn q3_k_scales(packed: &[u8; 12]) -> [i8; 16] {
    let mut scales = [0; 16];
    for (i, scale) in scales.iter_mut().enumerate() {
        let low = packed[i % 8] >> (4 * (i / 8)) & 15;
        let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        *scale = (low | high << 4) as i8 - 32;
    }
    scales
}
