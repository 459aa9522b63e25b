//! Rows of weights as numbers, for kernels that have no form of their own for a type: from the blocks of the
//! file or from the packed form, whichever the matrix lies in.

use gguf::DType;

use crate::packed::{BAND, Form, Packing};
use crate::rows::row;

/// Reads rows of one weight matrix.
pub struct RowReader {
    weight: *const u8,
    dtype: DType,
    row_bytes: usize,
    /// The packed form and the number of columns.
    packed: Option<(&'static Packing, usize)>,
}

impl RowReader {
    /// Rows of `k` columns at `weight`, `row_bytes` apart in the file.
    ///
    /// # Panics
    /// When a type without a packed form is said to be packed, which plans exclude; the step then fails as a whole.
    ///
    /// # Safety
    /// A matrix of this type and form must lie there as long as it is read.
    pub unsafe fn new(weight: *const u8, dtype: DType, form: Form, k: usize, row_bytes: usize) -> Self {
        let packed = (form == Form::Packed).then(|| match Packing::of(dtype) {
            Some(packing) => (packing, k),
            None => panic!("{dtype} has no packed form"),
        });
        Self { weight, dtype, row_bytes, packed }
    }

    /// Row `n` as f32.
    ///
    /// # Safety
    /// The matrix must have that row.
    pub unsafe fn decode(&self, n: usize, out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.packed {
                Some((packing, k)) => packing.decode_row(self.band(packing, k, n), n % BAND, k, out),
                None => decode_row(self.dtype, row(self.weight, n, self.row_bytes), out),
            }
        }
    }

    /// Row `n` as codes, scales and mins (empty for types without).
    ///
    /// # Safety
    /// The matrix must have that row.
    pub unsafe fn unpack(&self, n: usize, codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.packed {
                Some((packing, k)) => packing.unpack_row(self.band(packing, k, n), n % BAND, k, codes, scales, mins),
                None => unpack_row(self.dtype, row(self.weight, n, self.row_bytes), codes, scales, mins),
            }
        }
    }

    /// The band of row `n`.
    unsafe fn band(&self, packing: &Packing, k: usize, n: usize) -> &[u8] {
        // SAFETY: the caller's promise; bands follow one another.
        unsafe { row(self.weight, n / BAND, packing.band_bytes(k)) }
    }
}

/// Decodes one row of a file to f32.
///
/// # Panics
/// When the lengths do not belong together, which plans exclude; the step then fails as a whole.
pub fn decode_row(dtype: DType, packed: &[u8], out: &mut [f32]) {
    gguf::decode(dtype, packed, out).unwrap_or_else(|error| panic!("{error}"));
}

/// Unpacks one row of a file to codes, scales and mins (empty for types without).
///
/// # Panics
/// As [`decode_row`].
pub fn unpack_row(dtype: DType, packed: &[u8], codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
    gguf::unpack(dtype, packed, codes, scales, mins).unwrap_or_else(|error| panic!("{error}"));
}
