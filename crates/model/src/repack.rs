//! Matrices laid out anew when a model is opened, in the form that products read fastest
//! (`kernels::packed`). Called by `chaski` with the matrices that `plan::worth_repacking` names.
//!
//! What is packed is no longer read from the file: its pages are given back piece by piece, so that memory
//! never holds a matrix twice.

use std::collections::BTreeMap;

use device::{Buffer, Pool};
use kernels::packed::{BAND, Form, Packing, pack_matrix};

use crate::Error;
use crate::weights::{Matrix, Weights};

/// Bytes of the file that are packed between two reports of progress, and that may be in memory twice.
const PIECE_BYTES: usize = 8 << 20;

/// The packed matrices of a model, one after another in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Repacked {
    bands: Option<Buffer>,
    /// Where a matrix begins.
    places: BTreeMap<Key, usize>,
    file_bytes: usize,
}

/// Tensor, first row, number of rows.
type Key = (usize, usize, usize);

/// How a model's weights are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightMemory {
    /// Matrices that were laid out anew.
    pub num_repacked: usize,
    /// Bytes they take in memory.
    pub repacked_bytes: usize,
    /// Bytes they take in the files, which are not read any more.
    pub repacked_file_bytes: usize,
    /// Bytes of the files that are read where they are mapped.
    pub mapped_bytes: usize,
}

impl Weights {
    /// Lays `matrices` out anew, all workers of `pool` together; those that have no packed form are passed over.
    /// `progress` is told the bytes done and the bytes in all.
    ///
    /// # Errors
    /// When memory is refused or a worker panicked; everything is read from the files then, as before.
    pub fn repack(
        &mut self,
        matrices: &[Matrix],
        pool: &mut Pool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), Error> {
        let (mut places, mut jobs) = (BTreeMap::new(), Vec::new());
        let (mut bytes, mut file_bytes) = (0, 0);
        for matrix in matrices {
            let Some(packing) = matrix.packing().filter(|_| !places.contains_key(&matrix.key())) else { continue };
            places.insert(matrix.key(), bytes);
            jobs.push((matrix, packing, bytes));
            bytes += packing.bytes(matrix.rows, matrix.columns);
            file_bytes += matrix.bytes();
        }
        if places.is_empty() {
            return Ok(());
        }
        let mut bands = Buffer::zeroed(bytes, "repacked weights (--no-repack does without)")?;
        let mut done = 0;
        for (matrix, packing, at) in jobs {
            let bands_at_once = (PIECE_BYTES / (BAND * matrix.row_bytes)).max(1);
            let rows = self.matrix_bytes(matrix).chunks(bands_at_once * BAND * matrix.row_bytes);
            let out = bands.as_mut_slice()[at..].chunks_mut(bands_at_once * packing.band_bytes(matrix.columns));
            let mut offset = 0;
            for (rows, out) in rows.zip(out) {
                pack_matrix(pool, packing, rows, matrix.columns, out)?;
                self.release(matrix, offset..offset + rows.len());
                offset += rows.len();
                progress(done + offset, file_bytes);
            }
            done += offset;
        }
        self.repacked = Repacked { bands: Some(bands), places, file_bytes };
        Ok(())
    }

    /// The forms in which a matrix can be read; first the one to prefer when kernels are equally good.
    pub fn forms(&self, matrix: &Matrix) -> &'static [Form] {
        if self.repacked.places.contains_key(&matrix.key()) { &[Form::Packed, Form::Rows] } else { &[Form::Rows] }
    }

    /// How the weights are held.
    pub fn memory(&self) -> WeightMemory {
        WeightMemory {
            num_repacked: self.repacked.places.len(),
            repacked_bytes: self.repacked.bands.as_ref().map_or(0, Buffer::len),
            repacked_file_bytes: self.repacked.file_bytes,
            mapped_bytes: self.file_bytes() - self.repacked.file_bytes,
        }
    }
}

impl Repacked {
    /// The address of a matrix.
    pub(crate) fn address(&self, matrix: &Matrix) -> Option<*const u8> {
        let at = self.places.get(&matrix.key())?;
        Some(self.bands.as_ref()?.as_ptr().wrapping_add(*at))
    }
}

impl Matrix {
    /// The packed form, for those that have one. Fewer rows than a band would only be padding.
    pub(crate) fn packing(&self) -> Option<&'static Packing> {
        Packing::of(self.dtype).filter(|packing| packing.fits(self.columns) && self.rows >= BAND)
    }
}
