//! Any tensor type to `f32`, bit for bit as ggml decodes it. Called by the reference kernels and by loaders of small tensors.

use crate::{DType, Error, float, unpack};

/// Decodes `bytes`, whole blocks of `dtype`, into `out`, one `f32` per element. 64-bit numbers are rounded to `f32`.
pub fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    let expected = dtype.row_bytes(out.len()).unwrap_or(0);
    if expected != bytes.len() {
        let what = format!("decoding {dtype} to {} elements: bytes", out.len());
        return Err(Error::Length { what, expected, found: bytes.len() });
    }
    match dtype {
        DType::F32 => numbers(bytes, out, f32::from_le_bytes),
        DType::F16 => numbers(bytes, out, |raw| float::f16_to_f32(u16::from_le_bytes(raw))),
        DType::BF16 => numbers(bytes, out, |raw| float::bf16_to_f32(u16::from_le_bytes(raw))),
        DType::F64 => numbers(bytes, out, |raw| f64::from_le_bytes(raw) as f32),
        DType::I8 => numbers(bytes, out, |raw| f32::from(i8::from_le_bytes(raw))),
        DType::I16 => numbers(bytes, out, |raw| f32::from(i16::from_le_bytes(raw))),
        DType::I32 => numbers(bytes, out, |raw| i32::from_le_bytes(raw) as f32),
        DType::I64 => numbers(bytes, out, |raw| i64::from_le_bytes(raw) as f32),
        quantized => return codes(quantized, bytes, out),
    }
    Ok(())
}

fn numbers<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = number(*raw);
    }
}

/// Elements decoded at a time: a multiple of every block length.
const PIECE: usize = 256;

/// Quantised types, by way of their codes.
fn codes(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    let (mut codes, mut scales, mut mins) = ([0; PIECE], [0.0; PIECE / 16], [0.0; PIECE / 16]);
    let piece_bytes = PIECE / dtype.block_len() * dtype.block_bytes();
    for (bytes, out) in bytes.chunks(piece_bytes).zip(out.chunks_mut(PIECE)) {
        let groups = out.len() / dtype.group_len();
        let (codes, scales, mins) = (&mut codes[..out.len()], &mut scales[..groups], &mut mins[..groups]);
        unpack(dtype, bytes, codes, scales, mins)?;
        match dtype.group_len() {
            16 => values::<16>(codes, scales, mins, out),
            _ => values::<32>(codes, scales, mins, out),
        }
    }
    Ok(())
}

/// `code * scale - min`. Types without mins have zeros there, and subtracting `+0.0` changes nothing, not even `-0.0`.
fn values<const G: usize>(codes: &[i8], scales: &[f32], mins: &[f32], out: &mut [f32]) {
    let groups = codes.as_chunks::<G>().0.iter().zip(out.as_chunks_mut::<G>().0);
    for ((codes, out), (scale, min)) in groups.zip(scales.iter().zip(mins)) {
        for (value, &code) in out.iter_mut().zip(codes) {
            *value = f32::from(code) * scale - min;
        }
    }
}
