//! Unpacking of blocks with one level of scales. Called by the table in `unpack`.

use crate::blocks::grid::{FP4_VALUES, IQ4_VALUES};
use crate::blocks::{IQ4_NL, MXFP4, NVFP4, Q1_0, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1};
use crate::float::{e8m0_half_to_f32, ue4m3_half_to_f32};

pub(super) fn q1_0(block: &Q1_0, codes: &mut [i8; 128], scales: &mut [f32; 4]) {
    for (codes, bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(block.qs) {
        for (j, code) in codes.iter_mut().enumerate() {
            *code = ((bits >> j & 1) * 2) as i8 - 1;
        }
    }
    *scales = [block.d.to_f32(); 4];
}

pub(super) fn q2_0(block: &Q2_0, codes: &mut [i8; 64], scales: &mut [f32; 2]) {
    for (codes, bits) in codes.as_chunks_mut::<4>().0.iter_mut().zip(block.qs) {
        for (j, code) in codes.iter_mut().enumerate() {
            *code = (bits >> (2 * j) & 3) as i8 - 1;
        }
    }
    *scales = [block.d.to_f32(); 2];
}

pub(super) fn q4_0(block: &Q4_0, codes: &mut [i8; 32], scales: &mut [f32; 1]) {
    nibbles(&block.qs, codes, |q| q as i8 - 8);
    *scales = [block.d.to_f32()];
}

pub(super) fn q4_1(block: &Q4_1, codes: &mut [i8; 32], scales: &mut [f32; 1], mins: &mut [f32; 1]) {
    nibbles(&block.qs, codes, |q| q as i8);
    *scales = [block.d.to_f32()];
    *mins = [-block.m.to_f32()];
}

pub(super) fn q5_0(block: &Q5_0, codes: &mut [i8; 32], scales: &mut [f32; 1]) {
    nibbles(&block.qs, codes, |q| q as i8 - 16);
    fifth_bits(block.qh, codes);
    *scales = [block.d.to_f32()];
}

pub(super) fn q5_1(block: &Q5_1, codes: &mut [i8; 32], scales: &mut [f32; 1], mins: &mut [f32; 1]) {
    nibbles(&block.qs, codes, |q| q as i8);
    fifth_bits(block.qh, codes);
    *scales = [block.d.to_f32()];
    *mins = [-block.m.to_f32()];
}

pub(super) fn q8_0(block: &Q8_0, codes: &mut [i8; 32], scales: &mut [f32; 1]) {
    *codes = block.qs;
    *scales = [block.d.to_f32()];
}

pub(super) fn q8_1(block: &Q8_1, codes: &mut [i8; 32], scales: &mut [f32; 1]) {
    *codes = block.qs;
    *scales = [block.d.to_f32()];
}

pub(super) fn iq4_nl(block: &IQ4_NL, codes: &mut [i8; 32], scales: &mut [f32; 1]) {
    nibbles(&block.qs, codes, |q| IQ4_VALUES[usize::from(q)]);
    *scales = [block.d.to_f32()];
}

pub(super) fn mxfp4(block: &MXFP4, codes: &mut [i8; 32], scales: &mut [f32; 1]) {
    nibbles(&block.qs, codes, |q| FP4_VALUES[usize::from(q)]);
    *scales = [e8m0_half_to_f32(block.e)];
}

pub(super) fn nvfp4(block: &NVFP4, codes: &mut [i8; 64], scales: &mut [f32; 4]) {
    let groups = codes.as_chunks_mut::<16>().0.iter_mut();
    for (codes, qs) in groups.zip(block.qs.as_chunks::<8>().0) {
        for (j, q) in qs.iter().enumerate() {
            codes[j] = FP4_VALUES[usize::from(q & 15)];
            codes[j + 8] = FP4_VALUES[usize::from(q >> 4)];
        }
    }
    *scales = block.d.map(ue4m3_half_to_f32);
}

/// Byte `j` holds element `j` in its low nibble, element `j + 16` in its high one.
#[inline(always)]
pub(super) fn nibbles(qs: &[u8; 16], codes: &mut [i8; 32], code: impl Fn(u8) -> i8) {
    for j in 0..16 {
        codes[j] = code(qs[j] & 15);
        codes[j + 16] = code(qs[j] >> 4);
    }
}

/// Adds 16 where bit `j` is set.
#[inline(always)]
fn fifth_bits(bits: [u8; 4], codes: &mut [i8; 32]) {
    for (codes, bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(bits) {
        let masks = &BIT_MASKS[usize::from(bits)];
        for (code, mask) in codes.iter_mut().zip(masks) {
            *code += mask & 16;
        }
    }
}

/// The bits of a byte, one per element, as 0 or -1.
pub(super) static BIT_MASKS: [[i8; 8]; 256] = {
    let mut masks = [[0; 8]; 256];
    let mut bits = 0;
    while bits < 256 {
        let mut j = 0;
        while j < 8 {
            masks[bits][j] = -((bits >> j & 1) as i8);
            j += 1;
        }
        bits += 1;
    }
    masks
};
