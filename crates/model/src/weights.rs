//! The tensors of one model, mapped from its files, and the few numbers derived from them.

use std::sync::Arc;

use device::Mapping;
use gguf::{DType, Gguf, TensorInfo};
use kernels::Weight;
use kernels::packed::Form;

use crate::Error;
use crate::repack::Repacked;

/// A model's files: parsed headers over mapped bytes, and the matrices that were laid out anew.
pub struct Weights {
    gguf: Gguf,
    files: Vec<Mapping>,
    pub(crate) repacked: Repacked,
    hollow: bool,
}

/// A weight matrix, or a run of its rows, as matmul reads it.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// Element type.
    pub dtype: DType,
    /// Rows: output features.
    pub rows: usize,
    /// Columns: input features.
    pub columns: usize,
    /// Bytes per row.
    pub row_bytes: usize,
    tensor: usize,
    first_row: usize,
}

/// A vector in f32, copied out of the file: norms and biases are small and may be of any type.
pub type Vector = Arc<[f32]>;

impl Weights {
    /// Parses mapped files, in the order of their split numbers.
    ///
    /// # Errors
    /// Whatever is wrong with the files, by name.
    pub fn new(files: Vec<Mapping>) -> Result<Self, Error> {
        let bytes: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
        let gguf = Gguf::parse_split(&bytes)?;
        Ok(Self { gguf, files, repacked: Repacked::default(), hollow: false })
    }

    /// The same of a file whose matrices are all zeros: a shape. Whoever computes with them makes up what is in them.
    ///
    /// # Errors
    /// As [`Weights::new`].
    pub fn hollow(file: Mapping) -> Result<Self, Error> {
        Ok(Self { hollow: true, ..Self::new(vec![file])? })
    }

    /// Whether there is nothing in the matrices.
    pub fn is_hollow(&self) -> bool {
        self.hollow
    }

    /// The parsed header.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> usize {
        self.files.iter().map(|file| file.len()).sum()
    }

    /// Bytes of a tensor.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        let files: Vec<&[u8]> = self.files.iter().map(|file| &**file).collect();
        tensor.data(&files)
    }

    /// Whether the file has a tensor called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// The `[rows, columns]` matrix called `name`.
    ///
    /// # Errors
    /// When it is missing, of another shape, or of a type that cannot be decoded.
    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, Error> {
        let tensor = self.find(name)?;
        self.expect_shape(tensor, &[rows, columns])?;
        let index = self.gguf.tensors.iter().position(|other| std::ptr::eq(other, tensor));
        let (Some(index), Some(row_bytes), true) = (index, tensor.dtype.row_bytes(columns), is_weight(tensor.dtype))
        else {
            return Err(Error::DType { name: name.to_owned(), dtype: tensor.dtype });
        };
        Ok(Matrix { dtype: tensor.dtype, rows, columns, row_bytes, tensor: index, first_row: 0 })
    }

    /// The vector called `name`, decoded.
    ///
    /// # Errors
    /// When it is missing, of another length, or of a type that cannot be decoded.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vector, Error> {
        let tensor = self.find(name)?;
        self.expect_shape(tensor, &[len])?;
        let mut values = vec![0f32; len];
        gguf::decode(tensor.dtype, self.bytes(tensor), &mut values)
            .map_err(|_| Error::DType { name: name.to_owned(), dtype: tensor.dtype })?;
        Ok(values.into())
    }

    /// The vector called `name` if the file has it.
    ///
    /// # Errors
    /// As [`Weights::vector`].
    pub fn opt_vector(&self, name: &str, len: usize) -> Result<Option<Vector>, Error> {
        if self.has(name) { self.vector(name, len).map(Some) } else { Ok(None) }
    }

    /// The bytes of a matrix in the file.
    pub fn matrix_bytes(&self, matrix: &Matrix) -> &[u8] {
        let all = self.bytes(&self.gguf.tensors[matrix.tensor]);
        &all[matrix.first_row * matrix.row_bytes..][..matrix.rows * matrix.row_bytes]
    }

    /// The address of a matrix in one of its [`forms`](Weights::forms), for plans.
    pub fn address(&self, matrix: &Matrix, form: Form) -> Weight {
        let copy = self.repacked.address(matrix, form);
        Weight(copy.unwrap_or_else(|| self.matrix_bytes(matrix).as_ptr()))
    }

    /// Gives the memory of a part of a matrix back to the system; who reads it again reads it from the file.
    pub(crate) fn release(&self, matrix: &Matrix, bytes: std::ops::Range<usize>) {
        let tensor = &self.gguf.tensors[matrix.tensor];
        let start = tensor.offset + matrix.first_row * matrix.row_bytes;
        if let Some(file) = self.files.get(tensor.file) {
            file.release(start + bytes.start..start + bytes.end);
        }
    }

    fn find(&self, name: &str) -> Result<&TensorInfo, Error> {
        self.gguf.tensor(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
    }

    /// `expected` is outermost first; the file lists innermost first and may append ones.
    fn expect_shape(&self, tensor: &TensorInfo, expected: &[usize]) -> Result<(), Error> {
        let expected: Vec<u64> = expected.iter().map(|&size| size as u64).collect();
        let mut found = tensor.shape.clone();
        while found.len() > expected.len() && found.last() == Some(&1) {
            found.pop();
        }
        found.reverse();
        if found == expected { Ok(()) } else { Err(Error::Shape { name: tensor.name.clone(), expected, found }) }
    }
}

impl Matrix {
    /// Rows `first .. first + rows` of this matrix: one part of a fused projection.
    pub fn part(&self, first: usize, rows: usize) -> Self {
        debug_assert!(first + rows <= self.rows);
        Self { first_row: self.first_row + first, rows, ..*self }
    }

    /// What tells it from other matrices: tensor, first row, number of rows.
    pub(crate) fn key(&self) -> (usize, usize, usize) {
        (self.tensor, self.first_row, self.rows)
    }

    /// Bytes it occupies in the file.
    pub fn bytes(&self) -> usize {
        self.rows * self.row_bytes
    }
}

/// Types that matmul and embedding take: floats and everything quantised.
fn is_weight(dtype: DType) -> bool {
    dtype.is_quantized() || matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}
