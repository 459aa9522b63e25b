//! Typed reading of a JSON body: every getter names the field and what it expected. Used by `convert` and the
//! handlers. `null` counts as absent, so that clients can ask for the default.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::error::{ApiError, Kind};

/// The members of a JSON object.
#[derive(Clone, Copy)]
pub struct Fields<'a>(&'a Map<String, Value>);

/// Parses a body that must be a JSON object.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(ApiError::new(Kind::Invalid, format!("the body must be a JSON object, not {}", kind(&other)))),
        Err(_) if body.is_empty() => Err(ApiError::new(Kind::Invalid, "the body is empty: a JSON object was expected")),
        Err(problem) => Err(ApiError::new(Kind::Invalid, format!("the body is not JSON: {problem}"))),
    }
}

impl<'a> Fields<'a> {
    /// Over these members.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Fields(map)
    }

    /// The value of a field.
    pub fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The first of several names that is given, and its value.
    pub fn first(self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names.iter().find_map(|&name| Some((name, self.value(name)?)))
    }

    /// A switch.
    pub fn switch(self, name: &str) -> Result<Option<bool>, ApiError> {
        self.value(name).map(|value| value.as_bool().ok_or_else(|| wrong(name, "true or false", value))).transpose()
    }

    /// A text.
    pub fn text(self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.value(name).map(|value| value.as_str().ok_or_else(|| wrong(name, "a string", value))).transpose()
    }

    /// A list.
    pub fn list(self, name: &str) -> Result<Option<&'a Vec<Value>>, ApiError> {
        self.value(name).map(|value| value.as_array().ok_or_else(|| wrong(name, "an array", value))).transpose()
    }

    /// An object.
    pub fn map(self, name: &str) -> Result<Option<&'a Map<String, Value>>, ApiError> {
        self.value(name).map(|value| value.as_object().ok_or_else(|| wrong(name, "an object", value))).transpose()
    }

    /// A whole number within `min..=max`.
    pub fn number(self, name: &str, min: i64, max: i64) -> Result<Option<i64>, ApiError> {
        self.value(name).map(|value| whole(name, value, min, max)).transpose()
    }

    /// The same, of the first of several names that is given; the others are checked too.
    pub fn first_number(self, names: &[&'static str], min: i64, max: i64) -> Result<Option<i64>, ApiError> {
        let mut first = None;
        for name in names {
            let number = self.number(name, min, max)?;
            first = first.or(number);
        }
        Ok(first)
    }
}

/// A whole number within `min..=max`, also when it is written as `3.0`.
pub fn whole(name: &str, value: &Value, min: i64, max: i64) -> Result<i64, ApiError> {
    let exact = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    let number = value.as_i64().or_else(|| value.as_f64().and_then(exact));
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ if value.is_number() => {
            Err(ApiError::field(name, format!("expected a whole number from {min} to {max}, got {value}")))
        }
        _ => Err(wrong(name, "a whole number", value)),
    }
}

/// The field has another type than expected.
pub fn wrong(name: &str, expected: impl Display, value: &Value) -> ApiError {
    ApiError::field(name, format!("expected {expected}, got {}", kind(value)))
}

/// What a value is, in words.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
