//! Everything that can be wrong with a GGUF file or with a request to this crate, each naming its thing.

/// Why a file was refused or a conversion not made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it starts with {found:?}, expected \"GGUF\"")]
    NotGguf {
        /// The first bytes, as text.
        found: String,
    },
    /// The version is byte-swapped: the file was written for big-endian machines.
    #[error("big-endian GGUF file (version {version}): only little-endian files are supported")]
    BigEndian {
        /// The version once its bytes are swapped.
        version: u32,
    },
    /// A version this crate does not read.
    #[error("GGUF version {version} is not supported (2 and 3 are)")]
    Version {
        /// The version field.
        version: u32,
    },
    /// The file ends too early.
    #[error("the file ends inside {what}: {need} bytes wanted at offset {offset}, {left} left")]
    Truncated {
        /// What was being read.
        what: String,
        /// Bytes wanted.
        need: u64,
        /// Bytes left.
        left: u64,
        /// Where, counted from the start of the file.
        offset: u64,
    },
    /// A count that the rest of the file cannot hold.
    #[error("{what}: count {count} cannot be right, the rest of the file holds at most {most}")]
    Count {
        /// What is counted.
        what: String,
        /// The count in the file.
        count: u64,
        /// What would fit.
        most: u64,
    },
    /// A metadata key or tensor name that is empty, too long or not UTF-8.
    #[error("{what}: {reason}")]
    Name {
        /// Which key or tensor name.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The same metadata key twice.
    #[error("metadata key {key} appears twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The same tensor name twice, in one file or across a split set.
    #[error("tensor {name} appears twice")]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// A metadata value type id outside the format.
    #[error("metadata key {key}: unknown value type {id}")]
    ValueType {
        /// The key.
        key: String,
        /// The type id in the file.
        id: u32,
    },
    /// Arrays of arrays beyond the supported depth.
    #[error("metadata key {key}: arrays nested more than {limit} deep")]
    Depth {
        /// The key.
        key: String,
        /// The deepest nesting accepted.
        limit: usize,
    },
    /// `general.alignment` is not a power of two.
    #[error("general.alignment is {alignment}, expected a power of two")]
    Alignment {
        /// The value in the file.
        alignment: u64,
    },
    /// A tensor type id that no ggml version used, or one that was removed.
    #[error("tensor {name}: type {type_name} (id {id}) is not supported")]
    TensorType {
        /// The tensor.
        name: String,
        /// The type id in the file.
        id: u32,
        /// Its ggml name where known, else `unknown`.
        type_name: &'static str,
    },
    /// A shape that cannot be: too many dimensions, a zero, an overflow, a row that does not end with a block.
    #[error("tensor {name}: {reason}")]
    Shape {
        /// The tensor.
        name: String,
        /// What is wrong with its shape.
        reason: String,
    },
    /// Tensor data outside the file, misaligned, or on top of another tensor's.
    #[error("tensor {name}: {reason}")]
    Placement {
        /// The tensor.
        name: String,
        /// What is wrong with its place.
        reason: String,
    },
    /// A split set whose parts do not belong together.
    #[error("split model, file {file}: {reason}")]
    Split {
        /// Index of the file, counted from 0.
        file: usize,
        /// What is wrong.
        reason: String,
    },
    /// A required metadata key is absent.
    #[error("metadata key {key} is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A metadata value has another type than asked for.
    #[error("metadata key {key}: expected {expected}, file has {found}")]
    WrongType {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A metadata value of a fitting type but outside the range asked for.
    #[error("metadata key {key}: {value} does not fit {expected}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The value in the file.
        value: String,
    },
    /// Buffers given to a codec or the writer do not match in length.
    #[error("{what}: expected {expected}, got {found}")]
    Length {
        /// Which buffer.
        what: String,
        /// The length that fits.
        expected: usize,
        /// The length given.
        found: usize,
    },
    /// A type has no such codec.
    #[error("{dtype} cannot be {action}")]
    NoCodec {
        /// Name of the type.
        dtype: &'static str,
        /// `unpacked` or `encoded`.
        action: &'static str,
    },
}
