//! Quantised vectors: codes, and where the code of a value lies in its half of a block.
//!
//! Codes lie as the byte dot product of four neighbours (`vpdpbusd`) wants them, so that kernels use blocks
//! as they are. Tokens come in groups of [`TOKENS`]; `[a][b][c]` below is row-major, in bytes, within a group:
//!
//! ```text
//! keys   q8_0  [dim / 4][16 tokens][4 values]        code + 128 (unsigned)
//!        q4_0  [dim / 8][16 tokens][4 values]        low nibble: values 0..4 of 8, high: 4..8; code + 8
//! values q8_0  [4 quads][dim][4 tokens of the quad]  code (signed)
//!        q4_0  [4 quads][dim / 2][4 tokens]          low nibble: first half of the values, high: second; code + 8
//! ```
//! Behind the codes of all groups stand the scales, one f32 per token.

use super::KvType;

/// Tokens whose codes are interleaved.
pub const TOKENS: usize = 16;

/// Added to a value of at most 2^22, leaves the nearest whole number, ties to even, in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// Scale of a vector, and the factor that makes codes of its values. Where a value is not finite the scale is
/// NaN; where all are (next to) zero it is zero.
#[inline(always)]
pub fn scale(values: &[f32], largest_code: f32) -> (f32, f32) {
    let largest = values.iter().map(|value| value.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
    scale_of(f32::from_bits(largest), largest_code)
}

#[inline(always)]
fn scale_of(largest: f32, largest_code: f32) -> (f32, f32) {
    if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < 1e-30 {
        (0.0, 0.0)
    } else {
        (largest * (1.0 / largest_code), largest_code / largest)
    }
}

/// The code of a value. Zero where the factor is zero and the value is not finite.
#[inline(always)]
pub fn code(value: f32, factor: f32) -> i8 {
    let code = (value * factor + MAGIC).to_bits() as i8;
    if factor == 0.0 { 0 } else { code }
}

/// Values that are summed side by side: four vectors of the narrowest kind.
const LANES: usize = 16;

/// How far the largest value of a vector may be cut off, as parts of what its largest 4-bit code stands for.
const CUTS: [f32; 12] = [1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72, 0.68, 0.64, 0.6, 0.56];

/// Scale of 4-bit codes, and the factor that makes codes of values, which [`code_of_four`] cuts off. Fewer than 16 codes are
/// better spent on the many values than on the largest: of some scales the one whose codes miss the vector least.
#[inline(always)]
pub fn scale_of_four(values: &[f32]) -> (f32, f32) {
    let (whole, factor) = scale(values, 7.0);
    if factor == 0.0 || !factor.is_finite() {
        return (whole, factor);
    }
    let (mut best, mut found) = (f32::NEG_INFINITY, (whole, factor));
    for cut in CUTS {
        let factor = factor / cut;
        // Codes c times Σ c x / Σ c² come nearest to the values x, and miss Σ x² by (Σ c x)² / Σ c².
        let (mut products, mut squares) = ([0f32; LANES], [0f32; LANES]);
        for values in values.chunks(LANES) {
            for ((value, product), square) in values.iter().zip(&mut products).zip(&mut squares) {
                let code = nearest_of_four(*value, factor);
                *product += code * value;
                *square += code * code;
            }
        }
        let (product, square) = (products.iter().sum::<f32>(), squares.iter().sum::<f32>());
        let hit = product * (product / square);
        if hit > best && hit.is_finite() {
            (best, found) = (hit, (product / square, factor));
        }
    }
    found
}

#[inline(always)]
fn nearest_of_four(value: f32, factor: f32) -> f32 {
    ((value * factor).clamp(-8.0, 7.0) + MAGIC) - MAGIC
}

/// The 4-bit code of a value. Zero where the factor is zero and the value is not finite.
#[inline(always)]
pub fn code_of_four(value: f32, factor: f32) -> i8 {
    let code = ((value * factor).clamp(-8.0, 7.0) + MAGIC).to_bits() as i8;
    if factor == 0.0 { 0 } else { code }
}

/// Scale of signed 8-bit codes of a vector whose largest value has that size, and the factor that makes codes of its
/// values.
#[inline(always)]
pub fn code_scale(largest: f32) -> (f32, f32) {
    scale_of(largest, 127.0)
}

/// Signed 8-bit codes of a vector that is not stored, such as a query; gives their scale.
#[inline(always)]
pub fn codes(values: &[f32], codes: &mut [i8]) -> f32 {
    let (scale, factor) = scale(values, 127.0);
    codes.iter_mut().zip(values).for_each(|(out, &value)| *out = code(value, factor));
    scale
}

/// Place of one code: byte within its half, and whether it is the high nibble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub byte: usize,
    pub high: bool,
}

/// Bytes of the codes of a group.
pub const fn group_bytes(kv_type: KvType, dim: usize) -> usize {
    TOKENS * (kv_type.bytes(dim) - size_of::<f32>())
}

/// Where the code of value `i` of a key lies.
#[inline(always)]
pub fn key_place(kv_type: KvType, dim: usize, slot: usize, i: usize) -> Place {
    let group = slot / TOKENS * group_bytes(kv_type, dim);
    let (row, high) = if matches!(kv_type, KvType::Q4) { (i / 8, i / 4 % 2 == 1) } else { (i / 4, false) };
    Place { byte: group + row * 4 * TOKENS + slot % TOKENS * 4 + i % 4, high }
}

/// Where the code of value `i` of a value vector lies.
#[inline(always)]
pub fn value_place(kv_type: KvType, dim: usize, slot: usize, i: usize) -> Place {
    let group = slot / TOKENS * group_bytes(kv_type, dim);
    let width = kv_type.bytes(dim) - size_of::<f32>();
    let (column, high) = if matches!(kv_type, KvType::Q4) { (i % width, i >= width) } else { (i, false) };
    Place { byte: group + slot % TOKENS / 4 * 4 * width + column * 4 + slot % 4, high }
}
