//! `f32` to tensor types, bit for bit as the `gguf` Python package encodes. Called by fixtures, tests and, later, `quantize`.

use crate::{DType, Error, blocks, float, float::Half};

/// Encodes `values`, whole blocks of `dtype`: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1; other types are an error.
/// Values are meant to be finite.
pub fn encode(dtype: DType, values: &[f32]) -> Result<Vec<u8>, Error> {
    let block_len = dtype.block_len();
    if !values.len().is_multiple_of(block_len) {
        let (expected, found) = (values.len().next_multiple_of(block_len), values.len());
        return Err(Error::Length { what: format!("encoding {dtype}: elements"), expected, found });
    }
    Ok(match dtype {
        DType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&value| Half::from_f32(value).0).collect(),
        DType::BF16 => values.iter().flat_map(|&value| float::f32_to_bf16(value).to_le_bytes()).collect(),
        DType::Q8_0 => blocks_of(values, q8_0),
        DType::Q4_0 => blocks_of(values, q4_0),
        DType::Q4_1 => blocks_of(values, q4_1),
        DType::Q5_0 => blocks_of(values, q5_0),
        DType::Q5_1 => blocks_of(values, q5_1),
        _ => return Err(Error::NoCodec { dtype: dtype.name(), action: "encoded" }),
    })
}

fn blocks_of<B: bytemuck::Pod>(values: &[f32], block: fn(&[f32; 32]) -> B) -> Vec<u8> {
    values.as_chunks().0.iter().flat_map(|values| bytemuck::bytes_of(&block(values)).to_vec()).collect()
}

fn q8_0(values: &[f32; 32]) -> blocks::Q8_0 {
    let d = values.iter().fold(0.0f32, |max, value| max.max(value.abs())) / 127.0;
    let inverse = inverse(d);
    // `round` rounds halves away from zero, as the format wants.
    blocks::Q8_0 { d: Half::from_f32(d), qs: values.map(|value| (value * inverse).round() as i8) }
}

fn q4_0(values: &[f32; 32]) -> blocks::Q4_0 {
    let (d, codes) = symmetric::<8>(values);
    blocks::Q4_0 { d, qs: low_nibbles(&codes) }
}

fn q4_1(values: &[f32; 32]) -> blocks::Q4_1 {
    let (d, m, codes) = ranged::<15>(values);
    blocks::Q4_1 { d, m, qs: low_nibbles(&codes) }
}

fn q5_0(values: &[f32; 32]) -> blocks::Q5_0 {
    let (d, codes) = symmetric::<16>(values);
    blocks::Q5_0 { d, qh: fifth_bits(&codes), qs: low_nibbles(&codes) }
}

fn q5_1(values: &[f32; 32]) -> blocks::Q5_1 {
    let (d, m, codes) = ranged::<31>(values);
    blocks::Q5_1 { d, m, qh: fifth_bits(&codes), qs: low_nibbles(&codes) }
}

/// The value of greatest magnitude (the first of them) becomes code `-HALF`; codes come with `HALF` added.
fn symmetric<const HALF: u8>(values: &[f32; 32]) -> (Half, [u8; 32]) {
    let greatest = values.iter().fold(0.0f32, |best, &value| if value.abs() > best.abs() { value } else { best });
    let d = greatest / -f32::from(HALF);
    let inverse = inverse(d);
    let codes = values.map(|value| ((value * inverse + (f32::from(HALF) + 0.5)) as u8).min(2 * HALF - 1));
    (Half::from_f32(d), codes)
}

/// The least value becomes code 0, the greatest `MAX`.
fn ranged<const MAX: u8>(values: &[f32; 32]) -> (Half, Half, [u8; 32]) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = (greatest - least) / f32::from(MAX);
    let inverse = inverse(d);
    let codes = values.map(|value| (((value - least) * inverse + 0.5) as u8).min(MAX));
    (Half::from_f32(d), Half::from_f32(least), codes)
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn low_nibbles(codes: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| codes[j] & 15 | codes[j + 16] << 4)
}

fn fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    let bits = codes.iter().enumerate().fold(0u32, |bits, (j, code)| bits | u32::from(code >> 4 & 1) << j);
    bits.to_le_bytes()
}
