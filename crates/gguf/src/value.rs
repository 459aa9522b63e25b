//! Metadata values: the thirteen types of the format, their arrays, and how they are read.
//! Read by `container`, written by `writer`, asked through `metadata`, printed by `show`, made from Rust values in `convert`.

mod convert;
mod show;

use crate::{Error, StringArray, cursor::Cursor};

/// Arrays may nest this deep (an array of arrays counts 2); real files use 1.
const MAX_DEPTH: usize = 4;

/// The type of a metadata value.
#[allow(missing_docs)] // the names say it
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

use ValueType as T;

/// Value types with their names and the fewest bytes one of them takes in a file.
#[rustfmt::skip]
const VALUE_TYPES: [(ValueType, &str, usize); 13] = [
    (T::U8, "u8", 1), (T::I8, "i8", 1), (T::U16, "u16", 2), (T::I16, "i16", 2), (T::U32, "u32", 4), (T::I32, "i32", 4),
    (T::F32, "f32", 4), (T::Bool, "bool", 1), (T::String, "str", 8), (T::Array, "arr", 12), (T::U64, "u64", 8),
    (T::I64, "i64", 8), (T::F64, "f64", 8),
];

impl ValueType {
    /// The type with number `id` in files.
    pub fn from_id(id: u32) -> Option<Self> {
        VALUE_TYPES.get(usize::try_from(id).ok()?).map(|row| row.0)
    }

    /// Its number in files.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// Its name as GGUF tools print it: `u32`, `str`, `arr` …
    pub const fn name(self) -> &'static str {
        VALUE_TYPES[self as usize].1
    }

    const fn least_bytes(self) -> usize {
        VALUE_TYPES[self as usize].2
    }
}

/// One metadata value.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    /// Text by intention; the format does not promise UTF-8.
    String(Vec<u8>),
    Array(Array),
}

/// An array of metadata values, each kind in its own dense form.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(StringArray),
    Array(Vec<Array>),
}

impl Value {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => T::U8,
            Value::I8(_) => T::I8,
            Value::U16(_) => T::U16,
            Value::I16(_) => T::I16,
            Value::U32(_) => T::U32,
            Value::I32(_) => T::I32,
            Value::U64(_) => T::U64,
            Value::I64(_) => T::I64,
            Value::F32(_) => T::F32,
            Value::F64(_) => T::F64,
            Value::Bool(_) => T::Bool,
            Value::String(_) => T::String,
            Value::Array(_) => T::Array,
        }
    }

    /// The type in words: `u32`, or `arr[str]` for an array of strings.
    pub fn type_name(&self) -> String {
        match self {
            Value::Array(array) => array.type_name(),
            scalar => scalar.value_type().name().to_string(),
        }
    }

    /// Any integer type, widened.
    pub fn as_int(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// Reads one value of type `value_type`; `key` names it in errors.
    pub(crate) fn read(cursor: &mut Cursor<'_>, value_type: ValueType, key: &str) -> Result<Value, Error> {
        let what = format_args!("the value of {key}");
        Ok(match value_type {
            T::U8 => Value::U8(u8::from_le_bytes(cursor.array(&what)?)),
            T::I8 => Value::I8(i8::from_le_bytes(cursor.array(&what)?)),
            T::U16 => Value::U16(u16::from_le_bytes(cursor.array(&what)?)),
            T::I16 => Value::I16(i16::from_le_bytes(cursor.array(&what)?)),
            T::U32 => Value::U32(u32::from_le_bytes(cursor.array(&what)?)),
            T::I32 => Value::I32(i32::from_le_bytes(cursor.array(&what)?)),
            T::U64 => Value::U64(u64::from_le_bytes(cursor.array(&what)?)),
            T::I64 => Value::I64(i64::from_le_bytes(cursor.array(&what)?)),
            T::F32 => Value::F32(f32::from_le_bytes(cursor.array(&what)?)),
            T::F64 => Value::F64(f64::from_le_bytes(cursor.array(&what)?)),
            // Any byte but 0 is true, as llama.cpp reads it.
            T::Bool => Value::Bool(cursor.array::<1>(&what)? != [0]),
            T::String => Value::String(cursor.string(&what)?.to_vec()),
            T::Array => Value::Array(Array::read(cursor, key, 1)?),
        })
    }
}

impl Array {
    /// The type of the elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Array::U8(_) => T::U8,
            Array::I8(_) => T::I8,
            Array::U16(_) => T::U16,
            Array::I16(_) => T::I16,
            Array::U32(_) => T::U32,
            Array::I32(_) => T::I32,
            Array::U64(_) => T::U64,
            Array::I64(_) => T::I64,
            Array::F32(_) => T::F32,
            Array::F64(_) => T::F64,
            Array::Bool(_) => T::Bool,
            Array::String(_) => T::String,
            Array::Array(_) => T::Array,
        }
    }

    /// The type in words, as `arr[f32]`.
    pub fn type_name(&self) -> String {
        format!("arr[{}]", self.element_type().name())
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::F64(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Array(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `index` as a value of its own.
    pub fn get(&self, index: usize) -> Option<Value> {
        Some(match self {
            Array::U8(v) => Value::U8(*v.get(index)?),
            Array::I8(v) => Value::I8(*v.get(index)?),
            Array::U16(v) => Value::U16(*v.get(index)?),
            Array::I16(v) => Value::I16(*v.get(index)?),
            Array::U32(v) => Value::U32(*v.get(index)?),
            Array::I32(v) => Value::I32(*v.get(index)?),
            Array::U64(v) => Value::U64(*v.get(index)?),
            Array::I64(v) => Value::I64(*v.get(index)?),
            Array::F32(v) => Value::F32(*v.get(index)?),
            Array::F64(v) => Value::F64(*v.get(index)?),
            Array::Bool(v) => Value::Bool(*v.get(index)?),
            Array::String(v) => Value::String(v.get(index)?.to_vec()),
            Array::Array(v) => Value::Array(v.get(index)?.clone()),
        })
    }

    fn read(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Depth { key: key.to_string(), limit: MAX_DEPTH });
        }
        let what = format_args!("the elements of {key}");
        let id = cursor.u32(&format_args!("the element type of {key}"))?;
        let element = ValueType::from_id(id).ok_or_else(|| Error::ValueType { key: key.to_string(), id })?;
        let count = cursor.count(element.least_bytes(), &what)?;
        let mut raw = |width: usize| cursor.take((count * width) as u64, &what);
        Ok(match element {
            T::U8 => Array::U8(raw(1)?.to_vec()),
            T::I8 => Array::I8(numbers(raw(1)?, i8::from_le_bytes)),
            T::U16 => Array::U16(numbers(raw(2)?, u16::from_le_bytes)),
            T::I16 => Array::I16(numbers(raw(2)?, i16::from_le_bytes)),
            T::U32 => Array::U32(numbers(raw(4)?, u32::from_le_bytes)),
            T::I32 => Array::I32(numbers(raw(4)?, i32::from_le_bytes)),
            T::U64 => Array::U64(numbers(raw(8)?, u64::from_le_bytes)),
            T::I64 => Array::I64(numbers(raw(8)?, i64::from_le_bytes)),
            T::F32 => Array::F32(numbers(raw(4)?, f32::from_le_bytes)),
            T::F64 => Array::F64(numbers(raw(8)?, f64::from_le_bytes)),
            T::Bool => Array::Bool(raw(1)?.iter().map(|&byte| byte != 0).collect()),
            T::String => Array::String(StringArray::read(cursor, count, &what)?),
            T::Array => {
                let mut arrays = Vec::new();
                for _ in 0..count {
                    arrays.push(Array::read(cursor, key, depth + 1)?);
                }
                Array::Array(arrays)
            }
        })
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], from_le: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| from_le(chunk)).collect()
}
