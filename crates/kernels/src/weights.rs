//! Rows of weights as numbers, for kernels that have no form of their own for a type: from the blocks of the
//! file or from the packed form, whichever the matrix lies in.
//!
//! Kernels cannot fail, and plans are made so that a row can be read ([`is_readable`]). Should one not be, it reads as
//! NaN, which the check of every step finds and names.

use gguf::DType;

use crate::packed::{BAND, Form, Packing};
use crate::rows::row;
use crate::tiles::{TILE, Tiling};

/// Reads rows of one weight matrix.
pub struct RowReader {
    weight: *const u8,
    dtype: DType,
    /// Columns.
    k: usize,
    row_bytes: usize,
    layout: Option<Layout>,
}

enum Layout {
    Rows,
    Packed(&'static Packing),
    Tiles(Tiling),
}

impl Layout {
    fn of(dtype: DType, form: Form) -> Option<Self> {
        match form {
            Form::Rows => Some(Self::Rows),
            Form::Packed => Packing::of(dtype).map(Self::Packed),
            Form::Tiles => Tiling::of(dtype).map(Self::Tiles),
        }
    }
}

/// Whether a matrix of this type can lie in this form.
pub fn is_readable(dtype: DType, form: Form) -> bool {
    Layout::of(dtype, form).is_some()
}

impl RowReader {
    /// Rows of `k` columns at `weight`, `row_bytes` apart in the file.
    ///
    /// # Safety
    /// A matrix of this type and form must lie there as long as it is read.
    pub unsafe fn new(weight: *const u8, dtype: DType, form: Form, k: usize, row_bytes: usize) -> Self {
        Self { weight, dtype, k, row_bytes, layout: Layout::of(dtype, form) }
    }

    /// Row `n` as f32.
    ///
    /// # Safety
    /// The matrix must have that row.
    pub unsafe fn decode(&self, n: usize, out: &mut [f32]) {
        // SAFETY: the caller's promise; bands and tiles follow one another.
        unsafe {
            match &self.layout {
                None => out.fill(f32::NAN),
                Some(Layout::Rows) => decode_row(self.dtype, row(self.weight, n, self.row_bytes), out),
                Some(Layout::Packed(packing)) => {
                    packing.decode_row(row(self.weight, n / BAND, packing.band_bytes(self.k)), n % BAND, self.k, out);
                }
                Some(Layout::Tiles(tiling)) => {
                    tiling.decode_row(row(self.weight, n / TILE, tiling.tile_bytes(self.k)), n % TILE, self.k, out);
                }
            }
        }
    }

    /// Row `n` as codes, scales and mins (empty for types without).
    ///
    /// # Safety
    /// The matrix must have that row.
    pub unsafe fn unpack(&self, n: usize, codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
        let k = self.k;
        // SAFETY: the caller's promise; bands and tiles follow one another.
        unsafe {
            match &self.layout {
                None => scales.fill(f32::NAN),
                Some(Layout::Rows) => unpack_row(self.dtype, row(self.weight, n, self.row_bytes), codes, scales, mins),
                Some(Layout::Packed(packing)) => {
                    let band = row(self.weight, n / BAND, packing.band_bytes(k));
                    packing.unpack_row(band, n % BAND, k, codes, scales, mins);
                }
                Some(Layout::Tiles(tiling)) => {
                    let tile = row(self.weight, n / TILE, tiling.tile_bytes(k));
                    tiling.unpack_row(tile, n % TILE, k, codes, scales, mins);
                }
            }
        }
    }
}

/// Decodes one row of a file to f32.
pub fn decode_row(dtype: DType, packed: &[u8], out: &mut [f32]) {
    if gguf::decode(dtype, packed, out).is_err() {
        out.fill(f32::NAN);
    }
}

/// Unpacks one row of a file to codes, scales and mins (empty for types without).
pub fn unpack_row(dtype: DType, packed: &[u8], codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
    if gguf::unpack(dtype, packed, codes, scales, mins).is_err() {
        scales.fill(f32::NAN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_nan() {
        assert!(!is_readable(DType::F32, Form::Packed));
        // SAFETY: a type without that form: nothing is read.
        let rows = unsafe { RowReader::new(std::ptr::null(), DType::F32, Form::Packed, 4, 16) };
        let mut out = [0f32; 4];
        // SAFETY: as above.
        unsafe { rows.decode(0, &mut out) };
        assert!(out.iter().all(|value| value.is_nan()));
        decode_row(DType::Q4_0, &[0; 3], &mut out);
        assert!(out.iter().all(|value| value.is_nan()));
        unpack_row(DType::Q4_0, &[0; 3], &mut [0; 32], &mut out[..1], &mut []);
        assert!(out[0].is_nan());
    }
}
