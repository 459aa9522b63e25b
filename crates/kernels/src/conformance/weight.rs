//! Random weights of any type.

use device::Buffer;
use gguf::DType;

use super::Random;
use crate::launch::Weight;
use crate::packed::{Form, Packing};
use crate::tiles::Tiling;

/// Whether weights of a model come in this type: real numbers that `gguf` can decode.
pub fn has_rows(dtype: DType) -> bool {
    let block = vec![0u8; dtype.block_bytes()];
    let integer = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::F64);
    !integer && gguf::decode(dtype, &block, &mut vec![0.0; dtype.block_len()]).is_ok()
}

/// `n * k` random weights as blocks and as numbers. Blocks are random bytes, drawn again until the
/// numbers are of moderate size: so every bit pattern of codes occurs and no scale is out of range.
pub fn random(dtype: DType, n: usize, k: usize, random: &mut Random) -> (Vec<u8>, Vec<f32>) {
    let mut values = vec![0f32; dtype.block_len()];
    let mut block = vec![0u8; dtype.block_bytes()];
    let (mut packed, mut decoded) = (Vec::new(), Vec::new());
    for _ in 0..n * k / dtype.block_len() {
        loop {
            block.iter_mut().for_each(|byte| *byte = random.bits() as u8);
            let moderate = |value: &f32| value.abs() < 100.0 && (value.abs() > 1e-6 || *value == 0.0);
            if gguf::decode(dtype, &block, &mut values).is_err() || values.iter().all(moderate) {
                break;
            }
        }
        packed.extend_from_slice(&block);
        decoded.extend_from_slice(&values);
    }
    (packed, decoded)
}

/// Whether weights of a type with `k` columns have that form.
pub fn has_form(form: Form, dtype: DType, k: usize) -> bool {
    match form {
        Form::Rows => true,
        Form::Packed => Packing::of(dtype).is_some_and(|packing| packing.fits(k)),
        Form::Tiles => Tiling::of(dtype).is_some_and(|tiling| tiling.fits(k)),
    }
}

/// `n` rows of blocks in the given form.
pub fn laid_out(form: Form, dtype: DType, rows: Vec<u8>, n: usize, k: usize) -> Vec<u8> {
    match (form, Packing::of(dtype), Tiling::of(dtype)) {
        (Form::Packed, Some(packing), _) => {
            let mut bands = vec![0; packing.bytes(n, k)];
            packing.pack(&rows, k, &mut bands);
            bands
        }
        (Form::Tiles, _, Some(tiling)) => tiling.pack(&rows, n, k),
        _ => rows,
    }
}

/// Bytes in memory that keeps its place, as weights have. Empty when there is no memory.
pub fn buffer(bytes: &[u8]) -> Option<Buffer> {
    let buffer = Buffer::zeroed(bytes.len(), "weights of a conformance case").ok()?;
    // SAFETY: the buffer is new and has that many bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.as_ptr(), bytes.len()) };
    Some(buffer)
}

/// Where a buffer lies.
pub fn address(buffer: &Option<Buffer>) -> Weight {
    Weight(buffer.as_ref().map_or(std::ptr::null(), |buffer| buffer.as_ptr().cast_const()))
}
