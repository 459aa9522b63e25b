//! Rust values to metadata values. Called through `Writer::set`.

use super::{Array, Value};
use crate::StringArray;

macro_rules! from {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Self { Value::$variant(value) }
        }
    )*};
}
from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64,
    bool => Bool, Array => Array);

macro_rules! from_vec {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl From<Vec<$rust>> for Value {
            fn from(values: Vec<$rust>) -> Self { Value::Array(Array::$variant(values)) }
        }
    )*};
}
from_vec!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64,
    bool => Bool, Array => Array);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into_bytes())
    }
}

impl From<StringArray> for Value {
    fn from(strings: StringArray) -> Self {
        Value::Array(Array::String(strings))
    }
}
