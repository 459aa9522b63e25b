//! Unpacking of the K types and the ternary ones. Called by the table in `unpack`.

use crate::blocks::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, SUPER, TQ1_0, TQ2_0, k_scales_and_mins, q3_k_scales};

pub(super) fn q2_k(block: &Q2_K, codes: &mut [i8; SUPER], scales: &mut [f32; 16], mins: &mut [f32; 16]) {
    two_bits(&block.qs, codes, 0);
    let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
    for g in 0..16 {
        scales[g] = d * f32::from(block.scales[g] & 15);
        mins[g] = dmin * f32::from(block.scales[g] >> 4);
    }
}

pub(super) fn q3_k(block: &Q3_K, codes: &mut [i8; SUPER], scales: &mut [f32; 16]) {
    two_bits(&block.qs, codes, 4);
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, mask) in codes.iter_mut().zip(block.hmask) {
            *code += (mask >> g & 1) as i8 * 4;
        }
    }
    let d = block.d.to_f32();
    *scales = q3_k_scales(&block.scales).map(|scale| d * f32::from(scale));
}

pub(super) fn q4_k(block: &Q4_K, codes: &mut [i8; SUPER], scales: &mut [f32; 8], mins: &mut [f32; 8]) {
    four_bits(&block.qs, codes);
    let (packed_scales, packed_mins) = k_scales_and_mins(&block.scales);
    let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
    *scales = packed_scales.map(|scale| d * f32::from(scale));
    *mins = packed_mins.map(|min| dmin * f32::from(min));
}

pub(super) fn q5_k(block: &Q5_K, codes: &mut [i8; SUPER], scales: &mut [f32; 8], mins: &mut [f32; 8]) {
    four_bits(&block.qs, codes);
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, high) in codes.iter_mut().zip(block.qh) {
            *code |= ((high >> g & 1) << 4) as i8;
        }
    }
    let (packed_scales, packed_mins) = k_scales_and_mins(&block.scales);
    let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
    *scales = packed_scales.map(|scale| d * f32::from(scale));
    *mins = packed_mins.map(|min| dmin * f32::from(min));
}

pub(super) fn q6_k(block: &Q6_K, codes: &mut [i8; SUPER], scales: &mut [f32; 16]) {
    let halves = codes.as_chunks_mut::<128>().0.iter_mut();
    let (low, high) = (block.ql.as_chunks::<64>().0, block.qh.as_chunks::<32>().0);
    for ((codes, ql), qh) in halves.zip(low).zip(high) {
        for l in 0..32 {
            codes[l] = (ql[l] & 15 | (qh[l] & 3) << 4) as i8 - 32;
            codes[l + 32] = (ql[l + 32] & 15 | (qh[l] >> 2 & 3) << 4) as i8 - 32;
            codes[l + 64] = (ql[l] >> 4 | (qh[l] >> 4 & 3) << 4) as i8 - 32;
            codes[l + 96] = (ql[l + 32] >> 4 | (qh[l] >> 6) << 4) as i8 - 32;
        }
    }
    let d = block.d.to_f32();
    *scales = block.scales.map(|scale| d * f32::from(scale));
}

pub(super) fn q8_k(block: &Q8_K, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    *codes = block.qs;
    *scales = [f32::from_le_bytes(block.d); 8];
}

pub(super) fn tq1_0(block: &TQ1_0, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    let (first, rest) = codes.split_at_mut(160);
    let (second, last) = rest.split_at_mut(80);
    let (qs32, qs16) = block.qs.split_at(32);
    trits(qs32, first);
    trits(qs16, second);
    trits(&block.qh, last);
    *scales = [block.d.to_f32(); 8];
}

pub(super) fn tq2_0(block: &TQ2_0, codes: &mut [i8; SUPER], scales: &mut [f32; 8]) {
    two_bits(&block.qs, codes, 1);
    *scales = [block.d.to_f32(); 8];
}

/// Element `128 h + 32 s + l` is bits `2 s` and up of byte `32 h + l`; `offset` is taken off.
#[inline(always)]
fn two_bits(qs: &[u8; 64], codes: &mut [i8; SUPER], offset: i8) {
    for (codes, qs) in codes.as_chunks_mut::<128>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        for (s, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for l in 0..32 {
                codes[l] = (qs[l] >> (2 * s) & 3) as i8 - offset;
            }
        }
    }
}

/// Byte `32 p + l`: element `64 p + l` in the low nibble, element `64 p + 32 + l` in the high one.
#[inline(always)]
fn four_bits(qs: &[u8; 128], codes: &mut [i8; SUPER]) {
    for (codes, qs) in codes.as_chunks_mut::<64>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        for l in 0..32 {
            codes[l] = (qs[l] & 15) as i8;
            codes[l + 32] = (qs[l] >> 4) as i8;
        }
    }
}

/// Digit `k` of byte `m` is element `k * bytes + m`; a digit leaves at the top when the byte is multiplied by 3.
#[inline(always)]
fn trits(bytes: &[u8], codes: &mut [i8]) {
    let mut power = 1u8;
    for codes in codes.chunks_exact_mut(bytes.len()) {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as i8 - 1;
        }
        power = power.wrapping_mul(3);
    }
}
