//! What a template computes with. Values never change once made (only namespaces do, and they cannot be put into a value),
//! so they form trees without cycles; every list and map knows how deep it is and how much it would weigh written out,
//! so that whatever walks one can be paid for beforehand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Fault;
use super::ast::{Macro, Text};

/// Lists in lists in lists …: the depth at which we stop, far beyond any tool's schema.
pub(super) const MAX_DEPTH: u32 = 150;

#[derive(Clone)]
pub(super) enum Value {
    /// A variable or field that is not there.
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    List(Rc<List>),
    Map(Rc<Map>),
    Namespace(Namespace),
    /// The `loop` of a `for`.
    Loop(Rc<Loop>),
    Function(Function),
}

/// The only value that changes. In order of creation.
pub(super) type Namespace = Rc<RefCell<Vec<(Text, Value)>>>;

#[derive(Clone)]
pub(super) enum Function {
    /// A macro and how many scopes it sees.
    Macro(Arc<Macro>, usize),
    /// A function of the engine.
    Builtin(Text),
}

pub(super) struct List {
    pub items: Vec<Value>,
    pub tuple: bool,
    size: Size,
}

/// Entries in the order of insertion, keys of simple types only.
pub(super) struct Map {
    pub entries: Vec<(Value, Value)>,
    size: Size,
}

pub(super) struct Loop {
    pub items: Rc<List>,
    pub index: usize,
}

/// Depth of nesting, and bytes of text written out in full, shared parts counted each time.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub depth: u32,
    pub weight: u64,
}

impl Size {
    fn around(&mut self, inner: &Value) -> Result<(), Fault> {
        if matches!(inner, Value::Namespace(_) | Value::Loop(_) | Value::Function(_)) {
            return Err(Fault::wrong(format!("a {} cannot be put into another value", inner.type_name())));
        }
        let size = inner.size();
        self.depth = self.depth.max(size.depth + 1);
        self.weight = self.weight.saturating_add(size.weight + 2);
        if self.depth > MAX_DEPTH {
            return Err(Fault::Limit(format!("a value nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }
}

impl Value {
    pub(super) fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn list(items: Vec<Value>) -> Result<Self, Fault> {
        Ok(Self::List(Rc::new(List::new(items, false)?)))
    }

    pub(super) fn tuple(items: Vec<Value>) -> Result<Self, Fault> {
        Ok(Self::List(Rc::new(List::new(items, true)?)))
    }

    /// Of entries with the same key the last one stays, at the place of the first.
    pub(super) fn map(entries: Vec<(Value, Value)>) -> Result<Self, Fault> {
        let mut size = Size { depth: 0, weight: 2 };
        let mut kept: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
        let mut places: HashMap<(u8, Text), usize> = HashMap::with_capacity(entries.len());
        for (key, value) in entries {
            size.around(&key)?;
            size.around(&value)?;
            match places.entry(key.as_key()?) {
                Entry::Occupied(place) => kept[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    place.insert(kept.len());
                    kept.push((key, value));
                }
            }
        }
        Ok(Self::Map(Rc::new(Map { entries: kept, size })))
    }

    pub(super) fn from_json(json: Json) -> Result<Self, Fault> {
        Ok(match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::list(items.into_iter().map(Self::from_json).collect::<Result<_, _>>()?)?,
            Json::Object(fields) => {
                let entry = |(key, value): (String, Json)| Ok((Self::text(key), Self::from_json(value)?));
                Self::map(fields.into_iter().map(entry).collect::<Result<_, Fault>>()?)?
            }
        })
    }

    pub(super) fn size(&self) -> Size {
        match self {
            Self::Text(text) => Size { depth: 0, weight: text.len() as u64 + 2 },
            Self::List(list) => list.size,
            Self::Map(map) => map.size,
            _ => Size { depth: 0, weight: 8 },
        }
    }

    /// As a condition, by Python's rules.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Namespace(_) | Self::Loop(_) | Self::Function(_) => true,
        }
    }

    pub(super) fn as_text(&self) -> Option<&Text> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    /// What stands for this value when two keys are compared; containers cannot be keys.
    fn as_key(&self) -> Result<(u8, Text), Fault> {
        match self {
            Self::Text(text) => Ok((0, text.clone())),
            Self::Int(value) => Ok((1, value.to_string().into())),
            Self::Bool(value) => Ok((1, i64::from(*value).to_string().into())),
            Self::Float(value) => Ok((2, value.to_string().into())),
            Self::None => Ok((3, "".into())),
            other => Err(Fault::wrong(format!("a {} cannot be a key", other.type_name()))),
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined value",
            Self::None => "none",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(list) if list.tuple => "tuple",
            Self::List(_) => "list",
            Self::Map(_) => "mapping",
            Self::Namespace(_) => "namespace",
            Self::Loop(_) => "loop",
            Self::Function(_) => "function",
        }
    }
}

impl List {
    pub(super) fn new(items: Vec<Value>, tuple: bool) -> Result<Self, Fault> {
        let mut size = Size { depth: 0, weight: 2 };
        items.iter().try_for_each(|item| size.around(item))?;
        Ok(Self { items, tuple, size })
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries
            .iter()
            .find(|(known, _)| known.as_text().is_some_and(|known| **known == *key))
            .map(|(_, value)| value)
    }

    /// The value under a key of any type.
    pub(super) fn entry(&self, key: &Value) -> Option<&Value> {
        match key {
            Value::Text(key) => self.get(key),
            _ => {
                let key = key.as_key().ok()?;
                self.entries
                    .iter()
                    .find(|(known, _)| known.as_key().is_ok_and(|known| known == key))
                    .map(|(_, value)| value)
            }
        }
    }
}

impl Loop {
    pub(super) fn field(&self, name: &str) -> Value {
        let (index, length) = (self.index, self.items.items.len());
        let item = |index: Option<usize>| {
            index.and_then(|index| self.items.items.get(index)).cloned().unwrap_or(Value::Undefined)
        };
        match name {
            "index" => Value::Int(index as i64 + 1),
            "index0" => Value::Int(index as i64),
            "revindex" => Value::Int((length - index) as i64),
            "revindex0" => Value::Int((length - index) as i64 - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == length),
            "length" => Value::Int(length as i64),
            "previtem" => item(index.checked_sub(1)),
            "nextitem" => item(Some(index + 1)),
            _ => Value::Undefined,
        }
    }
}
