//! Rows of weights as numbers, for kernels that have no form of their own for a type: from the blocks of the
//! file or from the packed form, whichever the matrix lies in.

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
    layout: Layout,
}

enum Layout {
    Rows,
    Packed(&'static Packing),
    Tiles(Tiling),
}

impl RowReader {
    /// Rows of `k` columns at `weight`, `row_bytes` apart in the file.
    ///
    /// # Panics
    /// When a type is said to be in a form it does not have, which plans exclude; the step then fails as a whole.
    ///
    /// # Safety
    /// A matrix of this type and form must lie there as long as it is read.
    pub unsafe fn new(weight: *const u8, dtype: DType, form: Form, k: usize, row_bytes: usize) -> Self {
        let layout = match form {
            Form::Rows => Some(Layout::Rows),
            Form::Packed => Packing::of(dtype).map(Layout::Packed),
            Form::Tiles => Tiling::of(dtype).map(Layout::Tiles),
        };
        let layout = layout.unwrap_or_else(|| panic!("{dtype} has no {} form", form.name()));
        Self { weight, dtype, k, row_bytes, layout }
    }

    /// Row `n` as f32.
    ///
    /// # Safety
    /// The matrix must have that row.
    pub unsafe fn decode(&self, n: usize, out: &mut [f32]) {
        // SAFETY: the caller's promise; bands and tiles follow one another.
        unsafe {
            match self.layout {
                Layout::Rows => decode_row(self.dtype, row(self.weight, n, self.row_bytes), out),
                Layout::Packed(packing) => {
                    packing.decode_row(row(self.weight, n / BAND, packing.band_bytes(self.k)), n % BAND, self.k, out);
                }
                Layout::Tiles(tiling) => {
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
            match self.layout {
                Layout::Rows => unpack_row(self.dtype, row(self.weight, n, self.row_bytes), codes, scales, mins),
                Layout::Packed(packing) => {
                    let band = row(self.weight, n / BAND, packing.band_bytes(k));
                    packing.unpack_row(band, n % BAND, k, codes, scales, mins);
                }
                Layout::Tiles(tiling) => {
                    let tile = row(self.weight, n / TILE, tiling.tile_bytes(k));
                    tiling.unpack_row(tile, n % TILE, k, codes, scales, mins);
                }
            }
        }
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
