//! Metadata values in words. Called by whoever prints them (`inspect`).

use super::{Array, Value};
use std::fmt;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::F32(v) => v.fmt(f),
            Value::F64(v) => v.fmt(f),
            Value::Bool(v) => v.fmt(f),
            Value::String(v) => f.write_str(&String::from_utf8_lossy(v)),
            Value::Array(v) => v.fmt(f),
            integer => integer.as_int().unwrap_or_default().fmt(f),
        }
    }
}

/// The first elements, then how many more there are: `[1, 2, 3, … 149 997 more]` without the spaces.
impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        f.write_str("[")?;
        for (index, value) in (0..SHOWN).map_while(|index| self.get(index)).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match value {
                Value::String(text) => write!(f, "{comma}{:?}", String::from_utf8_lossy(&text))?,
                other => write!(f, "{comma}{other}")?,
            }
        }
        if self.len() > SHOWN {
            write!(f, ", … {} more", self.len() - SHOWN)?;
        }
        f.write_str("]")
    }
}
