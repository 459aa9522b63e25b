//! The container: header, metadata, tensor list, and the proof that every tensor's data lies in its file.
//! Called with mapped files by the front door, with made-up bytes by tests and the fuzz target.

use crate::{DType, Error, Metadata, Value, ValueType, cursor::Cursor, dtype};
use std::collections::HashMap;

/// Where tensor data starts unless `general.alignment` says otherwise: a multiple of this.
pub const DEFAULT_ALIGNMENT: usize = 32;

/// Tensors have at most this many dimensions (ggml's limit).
pub const MAX_DIMS: usize = 4;

/// Keys and tensor names are at most this long (the format's limit for keys).
const MAX_NAME: usize = 65535;

/// The fewest bytes of a metadata entry: key length, one byte of key, type, one byte of value.
const LEAST_ENTRY: usize = 8 + 1 + 4 + 1;

/// The fewest bytes of a tensor entry: name length, one byte of name, number of dimensions (0), type, offset.
const LEAST_TENSOR: usize = 8 + 1 + 4 + 4 + 8;

/// A parsed model: one file, or a split set seen as one.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// The metadata (of the first file, where the set is split).
    pub metadata: Metadata,
    /// The tensors of all files, in order.
    pub tensors: Vec<TensorInfo>,
    /// Alignment of tensor data in bytes (of the first file).
    pub alignment: usize,
    /// How many files the model has.
    pub file_count: usize,
    index: HashMap<String, usize>,
}

/// Name, type, shape and place of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, as `blk.3.attn_q.weight`.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Elements per dimension, innermost first (ggml's `ne`); never empty, never 0.
    pub shape: Vec<u64>,
    /// Which file holds the data, counted from 0.
    pub file: usize,
    /// Where the data starts, in bytes from the start of that file.
    pub offset: usize,
    /// How many bytes the data has.
    pub bytes: usize,
}

impl TensorInfo {
    /// The data. `files` are the slices that were parsed, in the same order (with others the answer is empty).
    pub fn data<'a>(&self, files: &[&'a [u8]]) -> &'a [u8] {
        let end = self.offset.saturating_add(self.bytes);
        files.get(self.file).and_then(|file| file.get(self.offset..end)).unwrap_or_default()
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

impl Gguf {
    /// Parses a model of one file.
    pub fn parse(bytes: &[u8]) -> Result<Gguf, Error> {
        Self::parse_split(&[bytes])
    }

    /// Parses the files of a split model, in order. One file that is not part of a split is a set of one.
    pub fn parse_split(files: &[&[u8]]) -> Result<Gguf, Error> {
        let mut parts = Vec::new();
        for (file, bytes) in files.iter().enumerate() {
            let part = parse_file(bytes, file)?;
            check_split(&part.metadata, file, files.len())?;
            parts.push(part);
        }
        let mut parts = parts.into_iter();
        let no_file = || Error::Split { file: 0, reason: "no file given".to_string() };
        let first = parts.next().ok_or_else(no_file)?;
        let mut gguf = Gguf { file_count: files.len(), ..first };
        for part in parts {
            gguf.tensors.extend(part.tensors);
        }
        gguf.index = index_by_name(&gguf.tensors)?;
        gguf.check_tensor_count()?;
        Ok(gguf)
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&at| &self.tensors[at])
    }

    fn check_tensor_count(&self) -> Result<(), Error> {
        match self.metadata.opt_u64("split.tensors.count")? {
            Some(declared) if declared != self.tensors.len() as u64 => {
                let reason = format!("split.tensors.count is {declared}, the files hold {}", self.tensors.len());
                Err(Error::Split { file: 0, reason })
            }
            _ => Ok(()),
        }
    }
}

/// A part must know its place in the set: `split.no` counted from 0, `split.count` the number of files.
fn check_split(metadata: &Metadata, file: usize, given: usize) -> Result<(), Error> {
    let count = metadata.opt_u64("split.count")?.unwrap_or(0).max(1);
    let no = metadata.opt_u64("split.no")?.unwrap_or(0);
    if count != given as u64 {
        let reason = format!("it is part {} of {count}, but {given} file(s) were opened", no.saturating_add(1));
        return Err(Error::Split { file, reason });
    }
    if no != file as u64 {
        let reason = format!("split.no is {no}, expected {file}");
        return Err(Error::Split { file, reason });
    }
    Ok(())
}

fn index_by_name(tensors: &[TensorInfo]) -> Result<HashMap<String, usize>, Error> {
    let mut index = HashMap::with_capacity(tensors.len());
    for (at, tensor) in tensors.iter().enumerate() {
        if index.insert(tensor.name.clone(), at).is_some() {
            return Err(Error::DuplicateTensor { name: tensor.name.clone() });
        }
    }
    Ok(index)
}

/// One file: header, metadata, tensor entries, places. The name index is built once for the whole set.
fn parse_file(bytes: &[u8], file: usize) -> Result<Gguf, Error> {
    let mut cursor = Cursor::new(bytes);
    let version = read_version(&mut cursor)?;
    let num_tensors = cursor.u64(&"the number of tensors")?;
    let num_entries = cursor.count(LEAST_ENTRY, &"metadata entries")?;
    let metadata = read_metadata(&mut cursor, num_entries)?;
    let alignment = read_alignment(&metadata)?;
    let num_tensors = cursor.check_count(num_tensors, LEAST_TENSOR, &"tensors")?;
    let mut entries = Vec::with_capacity(num_tensors);
    for number in 0..num_tensors {
        entries.push(read_tensor(&mut cursor, number)?);
    }
    let data_start = (cursor.offset() as u64).next_multiple_of(alignment as u64);
    let mut tensors = Vec::with_capacity(num_tensors);
    for entry in entries {
        tensors.push(place(entry, file, data_start, alignment as u64, bytes.len() as u64)?);
    }
    check_overlap(&tensors)?;
    Ok(Gguf { version, metadata, tensors, alignment, file_count: 1, index: HashMap::new() })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let magic: [u8; 4] = cursor.array(&"the magic")?;
    if &magic != b"GGUF" {
        return Err(Error::NotGguf { found: String::from_utf8_lossy(&magic).into_owned() });
    }
    match cursor.u32(&"the version")? {
        version @ 2..=3 => Ok(version),
        version if version & 0xffff == 0 && version != 0 => Err(Error::BigEndian { version: version.swap_bytes() }),
        version => Err(Error::Version { version }),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Metadata, Error> {
    let mut metadata = Metadata::default();
    for number in 0..count {
        let key = read_name(cursor, &format_args!("metadata key {number}"))?;
        let id = cursor.u32(&format_args!("the type of {key}"))?;
        let value_type = ValueType::from_id(id).ok_or_else(|| Error::ValueType { key: key.clone(), id })?;
        let value = Value::read(cursor, value_type, &key)?;
        metadata.insert(key, value)?;
    }
    Ok(metadata)
}

fn read_name(cursor: &mut Cursor<'_>, what: &dyn std::fmt::Display) -> Result<String, Error> {
    let bytes = cursor.string(what)?;
    let refuse = |reason: String| Err(Error::Name { what: what.to_string(), reason });
    match std::str::from_utf8(bytes) {
        Ok("") => refuse("the name is empty".to_string()),
        Ok(name) if name.len() > MAX_NAME => refuse(format!("the name has {} bytes, {MAX_NAME} allowed", name.len())),
        Ok(name) => Ok(name.to_string()),
        Err(_) => refuse("the name is not UTF-8".to_string()),
    }
}

fn read_alignment(metadata: &Metadata) -> Result<usize, Error> {
    let Some(alignment) = metadata.opt_u32("general.alignment")? else { return Ok(DEFAULT_ALIGNMENT) };
    if !alignment.is_power_of_two() {
        return Err(Error::Alignment { alignment: alignment.into() });
    }
    Ok(alignment as usize)
}

/// A tensor entry as it stands in the file; `offset` counts from the start of the data section.
struct Entry {
    name: String,
    dtype: DType,
    shape: Vec<u64>,
    offset: u64,
}

fn read_tensor(cursor: &mut Cursor<'_>, number: usize) -> Result<Entry, Error> {
    let name = read_name(cursor, &format_args!("the name of tensor {number}"))?;
    let num_dims = cursor.u32(&format_args!("the number of dimensions of tensor {name}"))? as usize;
    if num_dims > MAX_DIMS {
        let reason = format!("{num_dims} dimensions, at most {MAX_DIMS} are supported");
        return Err(Error::Shape { name, reason });
    }
    let mut shape = Vec::with_capacity(num_dims.max(1));
    for dim in 0..num_dims {
        shape.push(cursor.u64(&format_args!("dimension {dim} of tensor {name}"))?);
    }
    if let Some(dim) = shape.iter().position(|&length| length == 0) {
        return Err(Error::Shape { name, reason: format!("dimension {dim} is 0") });
    }
    if shape.is_empty() {
        shape.push(1); // a scalar
    }
    let id = cursor.u32(&format_args!("the type of tensor {name}"))?;
    let Some(dtype) = DType::from_id(id) else {
        return Err(Error::TensorType { name, id, type_name: dtype::name_of_id(id) });
    };
    let offset = cursor.u64(&format_args!("the offset of tensor {name}"))?;
    Ok(Entry { name, dtype, shape, offset })
}

/// Turns an entry into a tensor whose data is proved to lie in the file.
fn place(entry: Entry, file: usize, data_start: u64, alignment: u64, file_bytes: u64) -> Result<TensorInfo, Error> {
    let Entry { name, dtype, shape, offset } = entry;
    let bytes = match data_bytes(dtype, &shape) {
        Ok(bytes) => bytes,
        Err(reason) => return Err(Error::Shape { name, reason }),
    };
    if offset % alignment != 0 {
        let reason = format!("offset {offset} is not a multiple of the alignment {alignment}");
        return Err(Error::Placement { name, reason });
    }
    let start = data_start.checked_add(offset);
    let end = start.and_then(|start| start.checked_add(bytes)).filter(|&end| end <= file_bytes);
    match (start.map(usize::try_from), end, usize::try_from(bytes)) {
        (Some(Ok(offset)), Some(_), Ok(bytes)) => Ok(TensorInfo { name, dtype, shape, file, offset, bytes }),
        _ => {
            let reason = format!("{bytes} bytes at data offset {offset} end behind the file ({file_bytes} bytes)");
            Err(Error::Placement { name, reason })
        }
    }
}

/// Bytes of a tensor, or what is wrong with its shape.
fn data_bytes(dtype: DType, shape: &[u64]) -> Result<u64, String> {
    let (block_len, block_bytes) = (dtype.block_len() as u64, dtype.block_bytes() as u64);
    let row = shape[0];
    if !row.is_multiple_of(block_len) {
        return Err(format!("rows of {row} elements are not whole blocks of {block_len} ({dtype})"));
    }
    let elements = shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length));
    elements
        .and_then(|elements| (elements / block_len).checked_mul(block_bytes))
        .ok_or_else(|| format!("the size of shape {shape:?} overflows"))
}

/// No byte belongs to two tensors. (Gaps are fine; llama.cpp allows neither.)
fn check_overlap(tensors: &[TensorInfo]) -> Result<(), Error> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let reason = format!("its data overlaps that of tensor {}", pair[0].name);
            return Err(Error::Placement { name: pair[1].name.clone(), reason });
        }
    }
    Ok(())
}
