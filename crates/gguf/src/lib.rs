//! The GGUF file format: container, metadata, tensor types and their codecs.
//!
//! Floor 0 of the house: everything above reads model files through this crate. It works on byte slices (mapping files is
//! `device`'s work), does no I/O, holds no `unsafe`, and treats every file as hostile: whatever the bytes, parsing ends in a
//! [`Gguf`] whose tensors lie inside their files, or in an [`Error`] that names what is wrong.
//!
//! | module | what it holds |
//! |---|---|
//! | [`dtype`] | every ggml tensor type, one row of facts each |
//! | [`container`] | header, tensor list, split sets |
//! | [`metadata`], [`value`] | the key-value section and its typed getters |
//! | [`blocks`] | the memory layout of every quantised block |
//! | [`unpack()`], [`decode()`], [`encode()`] | blocks to integer codes, to `f32`, and back |
//! | [`writer`] | builds a file |
#![forbid(unsafe_code)]

pub mod blocks;
pub mod container;
mod cursor;
mod decode;
pub mod dtype;
mod encode;
mod error;
pub mod float;
pub mod metadata;
pub mod split;
mod strings;
mod unpack;
pub mod value;
pub mod writer;

pub use container::{Gguf, TensorInfo};
pub use decode::decode;
pub use dtype::{DType, DTypeInfo};
pub use encode::encode;
pub use error::Error;
pub use metadata::Metadata;
pub use split::{split_parts, split_path};
pub use strings::StringArray;
pub use unpack::unpack;
pub use value::{Array, Value, ValueType};
pub use writer::Writer;
