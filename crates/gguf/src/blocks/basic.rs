//! Blocks of one scale: the types from before the super-blocks, and the two newest of 1 and 2 bits.
#![allow(non_camel_case_types)] // ggml's names

use crate::float::Half;
use bytemuck::{Pod, Zeroable};

/// 128 elements of one bit: `d` where the bit is set, `-d` where not.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q1_0 {
    /// Scale.
    pub d: Half,
    /// Element `j` is bit `j % 8` of byte `j / 8`.
    pub qs: [u8; 16],
}

/// 64 elements of two bits: `d * (q - 1)`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q2_0 {
    /// Scale.
    pub d: Half,
    /// Element `j` is bits `2 * (j % 4)` and up of byte `j / 4`.
    pub qs: [u8; 16],
}

/// 32 elements of four bits: `d * (q - 8)`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q4_0 {
    /// Scale.
    pub d: Half,
    /// Byte `j`: element `j` in the low nibble, element `j + 16` in the high one.
    pub qs: [u8; 16],
}

/// 32 elements of four bits: `d * q + m`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q4_1 {
    /// Scale.
    pub d: Half,
    /// What `q = 0` stands for.
    pub m: Half,
    /// Byte `j`: element `j` in the low nibble, element `j + 16` in the high one.
    pub qs: [u8; 16],
}

/// 32 elements of five bits: `d * (q - 16)`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q5_0 {
    /// Scale.
    pub d: Half,
    /// Little-endian word: bit `j` is the fifth bit of element `j`.
    pub qh: [u8; 4],
    /// The low four bits, placed as in [`Q4_0`].
    pub qs: [u8; 16],
}

/// 32 elements of five bits: `d * q + m`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q5_1 {
    /// Scale.
    pub d: Half,
    /// What `q = 0` stands for.
    pub m: Half,
    /// Little-endian word: bit `j` is the fifth bit of element `j`.
    pub qh: [u8; 4],
    /// The low four bits, placed as in [`Q4_0`].
    pub qs: [u8; 16],
}

/// 32 elements of eight bits: `d * q`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q8_0 {
    /// Scale.
    pub d: Half,
    /// The elements in order.
    pub qs: [i8; 32],
}

/// 32 elements of eight bits, `d * q`, with their sum: the form ggml gives activations; rare in files.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Q8_1 {
    /// Scale.
    pub d: Half,
    /// `d` times the sum of `qs`; not needed to decode.
    pub s: Half,
    /// The elements in order.
    pub qs: [i8; 32],
}
