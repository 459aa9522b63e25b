//! Unpacking of the IQ types: look the point up, apply signs. Called by the table in `unpack`.

use super::basic::{BIT_MASKS, nibbles};
use crate::blocks::grid::{IQ1_GRID, IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID, IQ3_S_GRID, IQ3_XXS_GRID, IQ4_VALUES};
use crate::blocks::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, IQ4_XS, SUPER};
use crate::float::f16_to_f32;

pub(super) fn iq1_s(block: &IQ1_S, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    let d = block.d.to_f32();
    let points = codes.as_chunks_mut::<8>().0;
    for g in 0..8 {
        let qh = u16::from_le_bytes(block.qh[g]);
        let delta = if qh & 0x8000 == 0 { 1i8 } else { -1 };
        for l in 0..4 {
            let index = usize::from(block.qs[4 * g + l]) | usize::from(qh >> (3 * l) & 7) << 8;
            points[4 * g + l] = shifted(IQ1_GRID[index], delta);
        }
        scales[g] = d * f32::from(2 * (qh >> 12 & 7) + 1) * 0.125;
    }
}

pub(super) fn iq1_m(block: &IQ1_M, codes: &mut [i8; SUPER], scales: &mut [f32; 16]) {
    let words = block.scales.map(u16::from_le_bytes);
    let d = f16_to_f32(words[0] >> 12 | words[1] >> 12 << 4 | words[2] >> 12 << 8 | words[3] >> 12 << 12);
    for (i, point) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let nibble = block.qh[i / 2] >> (4 * (i % 2));
        let delta = if nibble & 8 == 0 { 1i8 } else { -1 };
        let index = usize::from(block.qs[i]) | usize::from(nibble & 7) << 8;
        *point = shifted(IQ1_GRID[index], delta);
    }
    for (g, scale) in scales.iter_mut().enumerate() {
        *scale = d * f32::from(2 * (words[g / 4] >> (3 * (g % 4)) & 7) + 1) * 0.125;
    }
}

pub(super) fn iq2_xxs(block: &IQ2_XXS, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    let d = block.d.to_f32();
    let points = codes.as_chunks_mut::<8>().0;
    for (g, &[i0, i1, i2, i3, word @ ..]) in block.qs.iter().enumerate() {
        let word = u32::from_le_bytes(word);
        for (l, index) in [i0, i1, i2, i3].into_iter().enumerate() {
            points[4 * g + l] = signed(IQ2_XXS_GRID[usize::from(index)], even_signs(word >> (7 * l)));
        }
        scales[g] = d * (0.5 + (word >> 28) as f32) * 0.25;
    }
}

pub(super) fn iq2_xs(block: &IQ2_XS, codes: &mut [i8; SUPER], scales: &mut [f32; 16]) {
    for (point, qs) in codes.as_chunks_mut::<8>().0.iter_mut().zip(block.qs) {
        let word = u16::from_le_bytes(qs);
        *point = signed(IQ2_XS_GRID[usize::from(word & 511)], even_signs(u32::from(word >> 9)));
    }
    quarter_scales(block.d.to_f32(), &block.scales, scales);
}

pub(super) fn iq2_s(block: &IQ2_S, codes: &mut [i8; SUPER], scales: &mut [f32; 16]) {
    for (i, point) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let index = usize::from(block.qs[i]) | usize::from(block.qh[i / 4] >> (2 * (i % 4)) & 3) << 8;
        *point = signed(IQ2_S_GRID[index], block.signs[i]);
    }
    quarter_scales(block.d.to_f32(), &block.scales, scales);
}

pub(super) fn iq3_xxs(block: &IQ3_XXS, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    let d = block.d.to_f32();
    let points = codes.as_chunks_mut::<8>().0;
    for (g, &word) in block.signs_scales.iter().enumerate() {
        let word = u32::from_le_bytes(word);
        for l in 0..4 {
            let i = 4 * g + l;
            let (left, right) = (usize::from(block.qs[2 * i]), usize::from(block.qs[2 * i + 1]));
            points[i] = signed(pair(IQ3_XXS_GRID[left], IQ3_XXS_GRID[right]), even_signs(word >> (7 * l)));
        }
        scales[g] = d * (0.5 + (word >> 28) as f32) * 0.5;
    }
}

pub(super) fn iq3_s(block: &IQ3_S, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    for (i, point) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let ninth = block.qh[i / 4] >> (2 * (i % 4));
        let left = usize::from(block.qs[2 * i]) | usize::from(ninth & 1) << 8;
        let right = usize::from(block.qs[2 * i + 1]) | usize::from(ninth >> 1 & 1) << 8;
        *point = signed(pair(IQ3_S_GRID[left], IQ3_S_GRID[right]), block.signs[i]);
    }
    let d = block.d.to_f32();
    for (g, scale) in scales.iter_mut().enumerate() {
        *scale = d * f32::from(1 + 2 * (block.scales[g / 2] >> (4 * (g % 2)) & 15));
    }
}

pub(super) fn iq4_xs(block: &IQ4_XS, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    for (codes, qs) in codes.as_chunks_mut::<32>().0.iter_mut().zip(block.qs.as_chunks::<16>().0) {
        nibbles(qs, codes, |q| IQ4_VALUES[usize::from(q)]);
    }
    let (d, high) = (block.d.to_f32(), u16::from_le_bytes(block.scales_h));
    for (g, scale) in scales.iter_mut().enumerate() {
        let low = block.scales_l[g / 2] >> (4 * (g % 2)) & 15;
        *scale = d * f32::from((u16::from(low) | (high >> (2 * g) & 3) << 4) as i16 - 32);
    }
}

/// Scales of IQ2_XS and IQ2_S: `d * (scale + 1/2) / 4`, a nibble each.
#[inline(always)]
fn quarter_scales(d: f32, packed: &[u8; 8], scales: &mut [f32; 16]) {
    for (g, scale) in scales.iter_mut().enumerate() {
        *scale = d * (0.5 + f32::from(packed[g / 2] >> (4 * (g % 2)) & 15)) * 0.25;
    }
}

/// Seven sign bits, completed by an eighth that makes their number even.
#[inline(always)]
fn even_signs(bits: u32) -> u8 {
    let seven = bits as u8 & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// Negates element `j` where bit `j` of `signs` is set, all eight in one word: `-x` is `!x + 1`, and the sum never carries into
/// the next element because no element of a grid is 0.
#[inline(always)]
fn signed(point: [i8; 8], signs: u8) -> [i8; 8] {
    let word = u64::from_le_bytes(point.map(|element| element as u8));
    let mask = u64::from_le_bytes(BIT_MASKS[usize::from(signs)].map(|element| element as u8));
    ((word ^ mask) + (mask & 0x0101_0101_0101_0101)).to_le_bytes().map(|element| element as i8)
}

/// Adds `delta` to each element, all eight in one word: the low seven bits cannot carry out, the top bits add without carry.
#[inline(always)]
fn shifted(point: [i8; 8], delta: i8) -> [i8; 8] {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let word = u64::from_le_bytes(point.map(|element| element as u8));
    let delta = u64::from_le_bytes([delta as u8; 8]);
    let sum = ((word & LOW) + (delta & LOW)) ^ ((word ^ delta) & !LOW);
    sum.to_le_bytes().map(|element| element as i8)
}

#[inline(always)]
fn pair([a, b, c, d]: [i8; 4], [e, f, g, h]: [i8; 4]) -> [i8; 8] {
    [a, b, c, d, e, f, g, h]
}
