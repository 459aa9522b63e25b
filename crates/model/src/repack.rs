//! Matrices laid out anew when a model is opened, in the form that products read fastest: those of codes in bands
//! (`kernels::packed`), those of floats as they are, in memory of large pages. Called by `chaski` with the matrices that
//! `plan::worth_repacking` names.
//!
//! What is copied is no longer read from the file: its pages are given back piece by piece, so that memory
//! never holds a matrix twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use device::{ALIGN, Buffer, Pool, PoolError};
use kernels::packed::{BAND, Form, Packing, pack_matrix};

use crate::Error;
use crate::weights::{Matrix, Weights};

/// Bytes of the file that are copied between two reports of progress, and that may be in memory twice.
const PIECE_BYTES: usize = 8 << 20;
/// Bytes that a worker copies at one time.
const COPY_BYTES: usize = 1 << 18;

/// The matrices of a model that were laid out anew, one after another in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Repacked {
    memory: Option<Buffer>,
    /// Where a matrix begins, and in which form it is there.
    places: BTreeMap<Key, (usize, Form)>,
    file_bytes: usize,
}

/// What becomes of a matrix.
#[derive(Clone, Copy)]
enum Copied {
    Bands(&'static Packing),
    Rows,
}

/// Tensor, first row, number of rows.
type Key = (usize, usize, usize);

/// How a model's weights are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightMemory {
    /// Matrices that were laid out anew, or copied.
    pub num_repacked: usize,
    /// Bytes they take in memory.
    pub repacked_bytes: usize,
    /// Bytes they take in the files, which are not read any more.
    pub repacked_file_bytes: usize,
    /// Bytes of the files that are read where they are mapped.
    pub mapped_bytes: usize,
}

impl Weights {
    /// Lays `matrices` out anew, all workers of `pool` together; codes that have no packed form are passed over.
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
            let Some(copied) = matrix.copied().filter(|_| !places.contains_key(&matrix.key())) else { continue };
            let (form, copy_bytes) = match copied {
                Copied::Bands(packing) => (Form::Packed, packing.bytes(matrix.rows, matrix.columns)),
                Copied::Rows => (Form::Rows, matrix.bytes().next_multiple_of(ALIGN)),
            };
            places.insert(matrix.key(), (bytes, form));
            jobs.push((matrix, copied, bytes));
            bytes += copy_bytes;
            file_bytes += matrix.bytes();
        }
        if places.is_empty() {
            return Ok(());
        }
        let mut memory = Buffer::zeroed(bytes, "repacked weights (--no-repack does without)")?;
        let mut done = 0;
        for (matrix, copied, at) in jobs {
            let bands_at_once = (PIECE_BYTES / (BAND * matrix.row_bytes)).max(1);
            let rows = self.matrix_bytes(matrix).chunks(bands_at_once * BAND * matrix.row_bytes);
            let band_bytes = match copied {
                Copied::Bands(packing) => packing.band_bytes(matrix.columns),
                Copied::Rows => BAND * matrix.row_bytes,
            };
            let out = memory.as_mut_slice()[at..].chunks_mut(bands_at_once * band_bytes);
            let mut offset = 0;
            for (rows, out) in rows.zip(out) {
                match copied {
                    Copied::Bands(packing) => pack_matrix(pool, packing, rows, matrix.columns, out)?,
                    Copied::Rows => copy(pool, rows, out)?,
                }
                self.release(matrix, offset..offset + rows.len());
                offset += rows.len();
                progress(done + offset, file_bytes);
            }
            done += offset;
        }
        self.repacked = Repacked { memory: Some(memory), places, file_bytes };
        Ok(())
    }

    /// The forms in which a matrix can be read; first the one to prefer when kernels are equally good.
    pub fn forms(&self, matrix: &Matrix) -> &'static [Form] {
        match self.repacked.places.get(&matrix.key()) {
            Some((_, Form::Packed)) => &[Form::Packed, Form::Rows],
            _ => &[Form::Rows],
        }
    }

    /// How the weights are held.
    pub fn memory(&self) -> WeightMemory {
        WeightMemory {
            num_repacked: self.repacked.places.len(),
            repacked_bytes: self.repacked.memory.as_ref().map_or(0, Buffer::len),
            repacked_file_bytes: self.repacked.file_bytes,
            mapped_bytes: self.file_bytes() - self.repacked.file_bytes,
        }
    }
}

impl Repacked {
    /// The address of a matrix, if it is there in this form.
    pub(crate) fn address(&self, matrix: &Matrix, form: Form) -> Option<*const u8> {
        let (at, _) = self.places.get(&matrix.key()).filter(|place| place.1 == form)?;
        Some(self.memory.as_ref()?.as_ptr().wrapping_add(*at))
    }
}

/// Copies the bytes that `to` begins with.
fn copy(pool: &mut Pool, from: &[u8], to: &mut [u8]) -> Result<(), PoolError> {
    let parts = Mutex::new(from.chunks(COPY_BYTES).zip(to.chunks_mut(COPY_BYTES)));
    pool.run(&|_| {
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((from, to)) = next() {
            to[..from.len()].copy_from_slice(from);
        }
    })
}

impl Matrix {
    fn copied(&self) -> Option<Copied> {
        if self.dtype.is_quantized() { self.packing().map(Copied::Bands) } else { Some(Copied::Rows) }
    }

    /// The packed form, for those that have one. Fewer rows than a band would only be padding.
    pub(crate) fn packing(&self) -> Option<&'static Packing> {
        Packing::of(self.dtype).filter(|packing| packing.fits(self.columns) && self.rows >= BAND)
    }
}
