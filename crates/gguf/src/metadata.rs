//! The metadata of a model: keys in file order, found by hash, asked with a type. Called by `model`, `text` and the program.
//!
//! Every getter comes as `opt_x` (absent is `None`) and, for scalars, as `x` (absent is an error). Integers are taken from any
//! integer type as long as the value fits; floats from `f32` and `f64`; nothing else converts.

use crate::{Array, Error, StringArray, Value};
use std::{borrow::Cow, collections::HashMap};

/// Keys and values, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Adds `key`; a second time is an error.
    pub fn insert(&mut self, key: String, value: Value) -> Result<(), Error> {
        if self.index.contains_key(&key) {
            return Err(Error::DuplicateKey { key });
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        Ok(())
    }

    /// A required `u32`.
    pub fn u32(&self, key: &str) -> Result<u32, Error> {
        required(key, self.opt_u32(key)?)
    }

    /// An optional `u32`.
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.opt_int(key, "u32")
    }

    /// A required `i32`.
    pub fn i32(&self, key: &str) -> Result<i32, Error> {
        required(key, self.opt_i32(key)?)
    }

    /// An optional `i32`.
    pub fn opt_i32(&self, key: &str) -> Result<Option<i32>, Error> {
        self.opt_int(key, "i32")
    }

    /// A required `u64`.
    pub fn u64(&self, key: &str) -> Result<u64, Error> {
        required(key, self.opt_u64(key)?)
    }

    /// An optional `u64`.
    pub fn opt_u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.opt_int(key, "u64")
    }

    /// A required `f32`.
    pub fn f32(&self, key: &str) -> Result<f32, Error> {
        required(key, self.opt_f32(key)?)
    }

    /// An optional `f32`.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(value)) => Ok(Some(*value)),
            Some(Value::F64(value)) => Ok(Some(*value as f32)),
            Some(other) => Err(wrong_type(key, "f32", other)),
        }
    }

    /// A required `bool`.
    pub fn bool(&self, key: &str) -> Result<bool, Error> {
        required(key, self.opt_bool(key)?)
    }

    /// An optional `bool`.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(key, "bool", other)),
        }
    }

    /// A required string, which must be UTF-8.
    pub fn str(&self, key: &str) -> Result<&str, Error> {
        required(key, self.opt_str(key)?)
    }

    /// An optional string, which must be UTF-8.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Error::WrongType {
                    key: key.to_string(),
                    expected: "str",
                    found: "bytes that are not UTF-8".to_string(),
                }),
            },
            Some(other) => Err(wrong_type(key, "str", other)),
        }
    }

    /// An optional array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&StringArray>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(strings))) => Ok(Some(strings)),
            Some(other) => Err(wrong_type(key, "arr[str]", other)),
        }
    }

    /// An optional array of `f32`.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(values))) => Ok(Some(values)),
            Some(other) => Err(wrong_type(key, "arr[f32]", other)),
        }
    }

    /// An optional array of `bool`.
    pub fn bools(&self, key: &str) -> Result<Option<&[bool]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Bool(values))) => Ok(Some(values)),
            Some(other) => Err(wrong_type(key, "arr[bool]", other)),
        }
    }

    /// An optional array of `u8` (a precompiled character map).
    pub fn u8s(&self, key: &str) -> Result<Option<&[u8]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::U8(values))) => Ok(Some(values)),
            Some(other) => Err(wrong_type(key, "arr[u8]", other)),
        }
    }

    /// An optional array of integers that fit `i32`; free of copying when the file holds `i32`.
    pub fn i32s(&self, key: &str) -> Result<Option<Cow<'_, [i32]>>, Error> {
        match self.get(key) {
            Some(Value::Array(Array::I32(values))) => Ok(Some(Cow::Borrowed(values))),
            _ => Ok(self.opt_ints(key, "arr[i32]")?.map(Cow::Owned)),
        }
    }

    /// An optional array of integers that fit `u32`; free of copying when the file holds `u32`.
    pub fn u32s(&self, key: &str) -> Result<Option<Cow<'_, [u32]>>, Error> {
        match self.get(key) {
            Some(Value::Array(Array::U32(values))) => Ok(Some(Cow::Borrowed(values))),
            _ => Ok(self.opt_ints(key, "arr[u32]")?.map(Cow::Owned)),
        }
    }

    /// A value per layer: a scalar stands for all `count` layers, an array must have at least `count` elements (more are
    /// dropped).
    pub fn opt_u32_each(&self, key: &str, count: usize) -> Result<Option<Vec<u32>>, Error> {
        if let Some(Value::Array(_)) = self.get(key) {
            let Some(values) = self.u32s(key)? else { return Ok(None) };
            let Some(values) = values.get(..count) else {
                let what = format!("metadata key {key}: elements");
                return Err(Error::Length { what, expected: count, found: values.len() });
            };
            return Ok(Some(values.to_vec()));
        }
        Ok(self.opt_u32(key)?.map(|value| vec![value; count]))
    }

    fn opt_int<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wide = value.as_int().ok_or_else(|| wrong_type(key, expected, value))?;
        fit(key, wide, expected).map(Some)
    }

    fn opt_ints<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<Option<Vec<T>>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Value::Array(array) = value else { return Err(wrong_type(key, expected, value)) };
        let wide =
            |index| array.get(index).and_then(|item| item.as_int()).ok_or_else(|| wrong_type(key, expected, value));
        (0..array.len()).map(|index| fit(key, wide(index)?, expected)).collect::<Result<_, _>>().map(Some)
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::MissingKey { key: key.to_string() })
}

fn fit<T: TryFrom<i128>>(key: &str, wide: i128, expected: &'static str) -> Result<T, Error> {
    T::try_from(wide).map_err(|_| Error::OutOfRange { key: key.to_string(), expected, value: wide.to_string() })
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> Error {
    Error::WrongType { key: key.to_string(), expected, found: found.type_name() }
}
