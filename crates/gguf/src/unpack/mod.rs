//! Quantised rows to integer codes: the ONE form from which `decode` and the matmul kernels both work.
//!
//! `value[i] = codes[i] as f32 * scales[i / G] - mins[i / G]`, with `G` = [`DType::group_len`] and no subtraction for types
//! without mins. Evaluated in `f32` in just that order, two roundings and no fused multiply-add, this gives bit for bit what ggml's own decoders give:
//! - group scales and mins are products of an `f16` (11 significant bits) and an integer of at most 8 bits or a power of two,
//!   so they are exact in `f32` however they are multiplied (Q8_K stores its scale as `f32`);
//! - where ggml scales fractions (IQ1: `point ± 1/8`; FP4: halves; IQ2, IQ3: quarters) the code takes the power of two and the
//!   scale gives it back, which is exact too;
//! - `d * q + m` (Q4_1, Q5_1) is `d * q - (-m)`, the same number in IEEE arithmetic.

mod basic;
mod iq;
mod k;

use crate::{DType, Error};
use bytemuck::Pod;

/// Unpacks whole blocks of `dtype`: `codes` gets one entry per element, `scales` (and `mins`, for types that have them) one per
/// group. `mins` is left alone, and may be empty, for types without. Lengths that do not fit are an error.
#[rustfmt::skip]
pub fn unpack(dtype: DType, bytes: &[u8], codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) -> Result<(), Error> {
    check_lengths(dtype, bytes.len(), codes.len(), scales.len(), mins.len())?;
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 | DType::F64 | DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
            return Err(Error::NoCodec { dtype: dtype.name(), action: "unpacked" });
        }
        DType::Q1_0 => scaled(bytes, codes, scales, basic::q1_0),
        DType::Q2_0 => scaled(bytes, codes, scales, basic::q2_0),
        DType::Q4_0 => scaled(bytes, codes, scales, basic::q4_0),
        DType::Q4_1 => minned(bytes, codes, scales, mins, basic::q4_1),
        DType::Q5_0 => scaled(bytes, codes, scales, basic::q5_0),
        DType::Q5_1 => minned(bytes, codes, scales, mins, basic::q5_1),
        DType::Q8_0 => scaled(bytes, codes, scales, basic::q8_0),
        DType::Q8_1 => scaled(bytes, codes, scales, basic::q8_1),
        DType::Q2_K => minned(bytes, codes, scales, mins, k::q2_k),
        DType::Q3_K => scaled(bytes, codes, scales, k::q3_k),
        DType::Q4_K => minned(bytes, codes, scales, mins, k::q4_k),
        DType::Q5_K => minned(bytes, codes, scales, mins, k::q5_k),
        DType::Q6_K => scaled(bytes, codes, scales, k::q6_k),
        DType::Q8_K => scaled(bytes, codes, scales, k::q8_k),
        DType::IQ1_S => scaled(bytes, codes, scales, iq::iq1_s),
        DType::IQ1_M => scaled(bytes, codes, scales, iq::iq1_m),
        DType::IQ2_XXS => scaled(bytes, codes, scales, iq::iq2_xxs),
        DType::IQ2_XS => scaled(bytes, codes, scales, iq::iq2_xs),
        DType::IQ2_S => scaled(bytes, codes, scales, iq::iq2_s),
        DType::IQ3_XXS => scaled(bytes, codes, scales, iq::iq3_xxs),
        DType::IQ3_S => scaled(bytes, codes, scales, iq::iq3_s),
        DType::IQ4_NL => scaled(bytes, codes, scales, basic::iq4_nl),
        DType::IQ4_XS => scaled(bytes, codes, scales, iq::iq4_xs),
        DType::TQ1_0 => scaled(bytes, codes, scales, k::tq1_0),
        DType::TQ2_0 => scaled(bytes, codes, scales, k::tq2_0),
        DType::MXFP4 => scaled(bytes, codes, scales, basic::mxfp4),
        DType::NVFP4 => scaled(bytes, codes, scales, basic::nvfp4),
    }
    Ok(())
}

fn check_lengths(dtype: DType, bytes: usize, codes: usize, scales: usize, mins: usize) -> Result<(), Error> {
    let groups = codes / dtype.group_len();
    let check = |what: &str, expected: usize, found: usize| match expected == found {
        true => Ok(()),
        false => Err(Error::Length { what: format!("unpacking {dtype}: {what}"), expected, found }),
    };
    check("codes", codes.next_multiple_of(dtype.block_len()), codes)?;
    check("bytes", codes / dtype.block_len() * dtype.block_bytes(), bytes)?;
    check("scales", groups, scales)?;
    check("mins", if dtype.has_mins() { groups } else { mins }, mins)
}

/// Runs `one` over blocks of `N` elements in `S` groups.
fn scaled<B: Pod, const N: usize, const S: usize>(
    bytes: &[u8],
    codes: &mut [i8],
    scales: &mut [f32],
    one: impl Fn(&B, &mut [i8; N], &mut [f32; S]),
) {
    let codes = codes.as_chunks_mut().0.iter_mut();
    let scales = scales.as_chunks_mut().0.iter_mut();
    for ((block, codes), scales) in blocks(bytes).iter().zip(codes).zip(scales) {
        one(block, codes, scales);
    }
}

/// The same for types with mins.
fn minned<B: Pod, const N: usize, const S: usize>(
    bytes: &[u8],
    codes: &mut [i8],
    scales: &mut [f32],
    mins: &mut [f32],
    one: impl Fn(&B, &mut [i8; N], &mut [f32; S], &mut [f32; S]),
) {
    let codes = codes.as_chunks_mut().0.iter_mut();
    let scales = scales.as_chunks_mut().0.iter_mut();
    let mins = mins.as_chunks_mut().0.iter_mut();
    for (((block, codes), scales), mins) in blocks(bytes).iter().zip(codes).zip(scales).zip(mins) {
        one(block, codes, scales, mins);
    }
}

/// Bytes as blocks. Cannot fail: blocks have no alignment and the length was checked.
fn blocks<B: Pod>(bytes: &[u8]) -> &[B] {
    bytemuck::try_cast_slice(bytes).unwrap_or_default()
}
