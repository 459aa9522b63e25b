//! Builds GGUF files (version 3). Called by fixtures, tests and, later, `quantize`.

use crate::{Array, DType, Error, Metadata, Value, container::DEFAULT_ALIGNMENT};
use std::io::{self, Write};

/// A model being put together: metadata and tensors, in the order given.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    metadata: Metadata,
    tensors: Vec<Pending>,
}

#[derive(Debug, Clone)]
struct Pending {
    name: String,
    dtype: DType,
    shape: Vec<u64>,
    data: Vec<u8>,
    /// Bytes it takes, zeros behind `data`.
    bytes: usize,
}

/// A file as what is not zero in it.
#[derive(Debug, Clone)]
pub struct Sparse<'a> {
    /// Everything before the tensors.
    pub header: Vec<u8>,
    /// Contents of tensors and where in the file they begin.
    pub parts: Vec<(usize, &'a [u8])>,
    /// Bytes of the file.
    pub bytes: usize,
}

impl Writer {
    /// An empty model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata entry; `general.alignment` (`u32`, a power of two) also sets the alignment of the tensor data.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<&mut Self, Error> {
        let value = value.into();
        if key.is_empty() {
            return Err(Error::Name { what: "metadata key".to_string(), reason: "the name is empty".to_string() });
        }
        if key == "general.alignment" {
            match value {
                Value::U32(alignment) if alignment.is_power_of_two() => {}
                Value::U32(alignment) => return Err(Error::Alignment { alignment: alignment.into() }),
                other => {
                    let (key, found) = (key.to_string(), other.type_name());
                    return Err(Error::WrongType { key, expected: "u32", found });
                }
            }
        }
        self.metadata.insert(key.to_string(), value)?;
        Ok(self)
    }

    /// Adds a tensor whose `data` is already in the form of `dtype`; `shape` is innermost first.
    pub fn tensor(&mut self, name: &str, dtype: DType, shape: &[u64], data: Vec<u8>) -> Result<&mut Self, Error> {
        let bytes = self.check(name, dtype, shape)?;
        if data.len() != bytes {
            return Err(Error::Length { what: format!("bytes of tensor {name}"), expected: bytes, found: data.len() });
        }
        self.tensors.push(Pending { name: name.to_string(), dtype, shape: shape.to_vec(), data, bytes });
        Ok(self)
    }

    /// Adds a tensor of zeros, which takes no memory here.
    pub fn hollow(&mut self, name: &str, dtype: DType, shape: &[u64]) -> Result<&mut Self, Error> {
        let bytes = self.check(name, dtype, shape)?;
        self.tensors.push(Pending { name: name.to_string(), dtype, shape: shape.to_vec(), data: Vec::new(), bytes });
        Ok(self)
    }

    /// Bytes of a new tensor, if it can be written.
    fn check(&self, name: &str, dtype: DType, shape: &[u64]) -> Result<usize, Error> {
        let refuse = |reason: &str| Error::Shape { name: name.to_string(), reason: reason.to_string() };
        if name.is_empty() {
            return Err(Error::Name { what: "tensor".to_string(), reason: "the name is empty".to_string() });
        }
        if self.tensors.iter().any(|tensor| tensor.name == name) {
            return Err(Error::DuplicateTensor { name: name.to_string() });
        }
        if shape.is_empty() || shape.len() > crate::container::MAX_DIMS || shape.contains(&0) {
            return Err(refuse("1 to 4 dimensions, none of them 0, can be written"));
        }
        let row = usize::try_from(shape[0]).ok().and_then(|row| dtype.row_bytes(row));
        let row = row.ok_or_else(|| refuse("the rows are not whole blocks"))?;
        let bytes = shape[1..].iter().try_fold(row, |bytes, &n| bytes.checked_mul(usize::try_from(n).ok()?));
        bytes.ok_or_else(|| refuse("the size overflows"))
    }

    /// The file as its header and what is not zero behind it.
    pub fn sparse(&self) -> Sparse<'_> {
        let alignment = self.alignment();
        let header = self.header(alignment);
        let mut bytes = header.len();
        let mut parts = Vec::new();
        for tensor in &self.tensors {
            parts.push((bytes, &tensor.data[..]));
            bytes += tensor.bytes.next_multiple_of(alignment);
        }
        Sparse { header, parts, bytes }
    }

    /// The file as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let alignment = self.alignment();
        let mut out = self.header(alignment);
        for tensor in &self.tensors {
            out.extend_from_slice(&tensor.data);
            out.resize(out.len() + tensor.bytes - tensor.data.len(), 0);
            pad(&mut out, alignment);
        }
        out
    }

    /// Writes the file, tensor after tensor, without building it in memory.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let alignment = self.alignment();
        out.write_all(&self.header(alignment))?;
        for tensor in &self.tensors {
            out.write_all(&tensor.data)?;
            let padding = tensor.bytes.next_multiple_of(alignment) - tensor.data.len();
            io::copy(&mut io::Read::take(io::repeat(0), padding as u64), out)?;
        }
        Ok(())
    }

    fn alignment(&self) -> usize {
        match self.metadata.get("general.alignment") {
            Some(Value::U32(alignment)) => *alignment as usize,
            _ => DEFAULT_ALIGNMENT,
        }
    }

    /// Everything before the data, padded to where the data starts (if there is any).
    fn header(&self, alignment: usize) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend_from_slice(&3u32.to_le_bytes());
        put_u64(&mut out, self.tensors.len());
        put_u64(&mut out, self.metadata.len());
        for (key, value) in self.metadata.iter() {
            put_string(&mut out, key.as_bytes());
            out.extend_from_slice(&value.value_type().id().to_le_bytes());
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_string(&mut out, tensor.name.as_bytes());
            out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|length| out.extend_from_slice(&length.to_le_bytes()));
            out.extend_from_slice(&tensor.dtype.id().to_le_bytes());
            put_u64(&mut out, offset);
            offset += tensor.bytes.next_multiple_of(alignment);
        }
        if !self.tensors.is_empty() {
            pad(&mut out, alignment);
        }
        out
    }
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

fn put_u64(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    put_u64(out, string.len());
    out.extend_from_slice(string);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_string(out, v),
        Value::Array(v) => put_array(out, v),
    }
}

/// Element type, count, elements.
fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend_from_slice(&array.element_type().id().to_le_bytes());
    put_u64(out, array.len());
    match array {
        Array::String(strings) => out.extend_from_slice(strings.file_bytes()),
        Array::Array(arrays) => arrays.iter().for_each(|inner| put_array(out, inner)),
        numbers => (0..numbers.len()).filter_map(|i| numbers.get(i)).for_each(|value| put_value(out, &value)),
    }
}
