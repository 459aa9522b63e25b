//! The IQ types: groups of elements are points of a lattice (see [`grid`](super::grid)), signs and scales beside them.
#![allow(non_camel_case_types)] // ggml's names

use crate::float::Half;
use bytemuck::{Pod, Zeroable};

/// 256 elements, 8 groups of 32: `d * (2 * scale + 1) * (point ± 1/8)`, points of eight elements in -1, 0, 1.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ1_S {
    /// Scale of the scales.
    pub d: Half,
    /// Low eight bits of the grid index of elements `8 i .. 8 i + 8`.
    pub qs: [u8; 32],
    /// Group `g`, a little-endian word: bits `3 l` and up are the high three bits of the group's grid index `l` (`l < 4`),
    /// bits 12..15 the scale, bit 15 set means `- 1/8`.
    pub qh: [[u8; 2]; 8],
}

/// 256 elements, 16 groups of 16: `d * (2 * scale + 1) * (point ± 1/8)`, points as in [`IQ1_S`].
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ1_M {
    /// Low eight bits of the grid index of elements `8 i .. 8 i + 8`.
    pub qs: [u8; 32],
    /// Nibble `i` (low one first): bits 0..3 are the high bits of grid index `i`, bit 3 set means `- 1/8`.
    pub qh: [u8; 16],
    /// Four little-endian words: group `4 w + i` has its scale in bits `3 i` and up of word `w`; the top nibbles of the words,
    /// least significant first, are the `f16` scale `d`.
    pub scales: [[u8; 2]; 4],
}

/// 256 elements, 8 groups of 32: `d * (scale + 1/2) / 4 * ± point`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ2_XXS {
    /// Scale of the scales.
    pub d: Half,
    /// Per group: four grid indices, then a little-endian word with four sign indices of seven bits and, on top, the scale of
    /// four bits. A sign index is seven sign bits; the eighth makes their number even.
    pub qs: [[u8; 8]; 8],
}

/// 256 elements, 16 groups of 16: `d * (scale + 1/2) / 4 * ± point`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ2_XS {
    /// Scale of the scales.
    pub d: Half,
    /// Per eight elements a little-endian word: nine bits of grid index, seven bits of sign index (as in [`IQ2_XXS`]).
    pub qs: [[u8; 2]; 32],
    /// Nibble `g` (low one first): scale of group `g`.
    pub scales: [u8; 8],
}

/// 256 elements, 16 groups of 16: `d * (scale + 1/2) / 4 * ± point`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ2_S {
    /// Scale of the scales.
    pub d: Half,
    /// Low eight bits of the grid index of elements `8 i .. 8 i + 8`.
    pub qs: [u8; 32],
    /// Signs: element `8 i + j` is negative where bit `j` of byte `i` is set.
    pub signs: [u8; 32],
    /// Bits `2 * (i % 4)` and up of byte `i / 4`: high two bits of grid index `i`.
    pub qh: [u8; 8],
    /// Nibble `g` (low one first): scale of group `g`.
    pub scales: [u8; 8],
}

/// 256 elements, 8 groups of 32: `d * (scale + 1/2) / 2 * ± point`, points of four elements.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ3_XXS {
    /// Scale of the scales.
    pub d: Half,
    /// Grid index of elements `4 i .. 4 i + 4`.
    pub qs: [u8; 64],
    /// Per group a little-endian word with four sign indices of seven bits and the scale, as in [`IQ2_XXS`].
    pub signs_scales: [[u8; 4]; 8],
}

/// 256 elements, 8 groups of 32: `d * (2 * scale + 1) * ± point`, points of four elements.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ3_S {
    /// Scale of the scales.
    pub d: Half,
    /// Low eight bits of the grid index of elements `4 i .. 4 i + 4`.
    pub qs: [u8; 64],
    /// Bit `i % 8` of byte `i / 8`: ninth bit of grid index `i`.
    pub qh: [u8; 8],
    /// Signs: element `8 i + j` is negative where bit `j` of byte `i` is set.
    pub signs: [u8; 32],
    /// Nibble `g` (low one first): scale of group `g`.
    pub scales: [u8; 4],
}

/// 32 elements of four bits: `d * value[q]` with the sixteen values of [`IQ4_VALUES`](super::grid::IQ4_VALUES).
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ4_NL {
    /// Scale.
    pub d: Half,
    /// Byte `j`: element `j` in the low nibble, element `j + 16` in the high one.
    pub qs: [u8; 16],
}

/// 256 elements, 8 groups of 32: `d * (scale - 32) * value[q]`, values as in [`IQ4_NL`].
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct IQ4_XS {
    /// Scale of the scales.
    pub d: Half,
    /// Little-endian word: bits `2 g` and up are the high two bits of the scale of group `g`.
    pub scales_h: [u8; 2],
    /// Nibble `g` (low one first): low four bits of the scale of group `g`.
    pub scales_l: [u8; 4],
    /// Byte `16 g + j`: element `32 g + j` in the low nibble, element `32 g + 16 + j` in the high one.
    pub qs: [u8; 128],
}
