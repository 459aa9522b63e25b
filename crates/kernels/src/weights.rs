//! Rows of quantised weights as numbers, for kernels that have no form of their own for a type.

use gguf::DType;

/// Decodes one row to f32.
///
/// # Panics
/// When the lengths do not belong together, which plans exclude; the step then fails as a whole.
pub fn decode_row(dtype: DType, packed: &[u8], out: &mut [f32]) {
    gguf::decode(dtype, packed, out).unwrap_or_else(|error| panic!("{error}"));
}

/// Unpacks one row to codes, scales and mins (empty for types without).
///
/// # Panics
/// As [`decode_row`].
pub fn unpack_row(dtype: DType, packed: &[u8], codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
    gguf::unpack(dtype, packed, codes, scales, mins).unwrap_or_else(|error| panic!("{error}"));
}
