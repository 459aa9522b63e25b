//! The sampling parameters of one request: what was given, over the defaults of the specs. Filled by the command line
//! and the HTTP doors, read by the stages.

use super::registry::PARAMS;
use super::{Error, ParamSpec, ParamValue};

/// The sampling parameters of a request: what was given, over the defaults of the specs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params {
    given: Vec<(&'static str, ParamValue)>,
}

impl Params {
    /// Sets a parameter by field name, checking type and range. A list replaces what was there.
    pub fn set(&mut self, field: &str, value: &ParamValue) -> Result<(), Error> {
        let spec = spec(field)?;
        let (field, value) = spec.check(value)?;
        self.put(field, value);
        Ok(())
    }

    /// Sets a parameter from command-line text. The repeating kinds append to what earlier flags gave.
    pub fn parse(&mut self, field: &str, text: &str) -> Result<(), Error> {
        let spec = spec(field)?;
        let (field, mut value) = spec.check(&ParamValue::Text(text.to_owned()))?;
        let earlier = self.given.iter().find(|(name, _)| *name == field).map(|(_, value)| value);
        match (&mut value, earlier) {
            (ParamValue::Biases(new), Some(ParamValue::Biases(old))) => *new = [&old[..], new].concat(),
            (ParamValue::Texts(new), Some(ParamValue::Texts(old))) if spec.repeats() && !new.is_empty() => {
                *new = [&old[..], new].concat();
            }
            _ => {}
        }
        self.put(field, value);
        Ok(())
    }

    /// Whether the parameter was given, as opposed to defaulted (a model's own defaults must not overrule the user).
    pub fn is_set(&self, field: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == field)
    }

    /// The value given, or the spec's default.
    pub fn value(&self, spec: &ParamSpec) -> ParamValue {
        self.given
            .iter()
            .find(|(name, _)| *name == spec.field)
            .map_or_else(|| spec.default(), |(_, value)| value.clone())
    }

    /// The value of an `Int` parameter.
    pub fn int(&self, spec: &ParamSpec) -> i64 {
        match self.value(spec) {
            ParamValue::Int(value) => value,
            _ => 0,
        }
    }

    /// The value of a `Float` parameter.
    pub fn float(&self, spec: &ParamSpec) -> f32 {
        match self.value(spec) {
            ParamValue::Float(value) => value as f32,
            _ => 0.0,
        }
    }

    /// The value of a `Switch` parameter.
    pub fn switch(&self, spec: &ParamSpec) -> bool {
        self.value(spec) == ParamValue::Bool(true)
    }

    /// The value of a `Texts` or `Stages` parameter.
    pub fn texts(&self, spec: &ParamSpec) -> Vec<String> {
        match self.value(spec) {
            ParamValue::Texts(value) => value,
            _ => Vec::new(),
        }
    }

    /// The value of a `Biases` parameter.
    pub fn biases(&self, spec: &ParamSpec) -> Vec<(u32, f32)> {
        match self.value(spec) {
            ParamValue::Biases(value) => value,
            _ => Vec::new(),
        }
    }

    fn put(&mut self, field: &'static str, value: ParamValue) {
        match self.given.iter_mut().find(|(name, _)| *name == field) {
            Some((_, slot)) => *slot = value,
            None => self.given.push((field, value)),
        }
    }
}

fn spec(field: &str) -> Result<&'static ParamSpec, Error> {
    PARAMS
        .iter()
        .copied()
        .find(|spec| spec.field == field)
        .ok_or_else(|| Error::UnknownParam { field: field.to_owned() })
}
