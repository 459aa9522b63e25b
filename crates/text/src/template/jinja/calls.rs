//! Calls: macros, the functions of the engine, and the list methods that change a variable.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Arguments, Expr, Macro, Text};
use super::machine::{Machine, place, put};
use super::value::{Function, List, Namespace, Value};
use super::{Fault, print};

/// A range with more items is an error rather than a cost.
const MAX_RANGE: usize = 100_000;

/// Evaluated arguments of a call.
#[derive(Default)]
pub(super) struct Given {
    pub positional: Vec<Value>,
    pub named: Vec<(Text, Value)>,
}

impl Machine {
    pub(super) fn call(&mut self, function: &Expr, arguments: &Arguments) -> Result<Value, Fault> {
        let given = self.arguments(arguments)?;
        if let Expr::Field(object, name) = function {
            if let Some(result) = self.change_list(object, name, &given)? {
                return Ok(result);
            }
            let object = self.eval(object)?;
            return match self.field(&object, name)? {
                Value::Function(function) => self.invoke(&function, given),
                _ => self.method(&object, name, given),
            };
        }
        match (self.eval(function)?, function) {
            (Value::Function(function), _) => self.invoke(&function, given),
            (Value::Undefined, Expr::Name(name)) => Err(Fault::wrong(format!("`{name}` is not defined"))),
            (other, _) => Err(Fault::wrong(format!("a {} cannot be called", other.type_name()))),
        }
    }

    fn invoke(&mut self, function: &Function, given: Given) -> Result<Value, Fault> {
        match function {
            Function::Macro(definition, visible) => self.expand(definition, *visible, given),
            Function::Builtin(name) => self.builtin(name, given),
        }
    }

    /// Runs a macro: it sees the scopes it was defined in and its parameters.
    fn expand(&mut self, definition: &Macro, visible: usize, given: Given) -> Result<Value, Fault> {
        let hidden = self.scopes.split_off(visible.min(self.scopes.len()));
        self.scopes.push(HashMap::new());
        let line = self.line;
        let result = self.expand_in_scope(definition, given);
        self.scopes.pop();
        self.scopes.extend(hidden);
        // A fault keeps the line it happened on.
        if result.is_ok() {
            self.line = line;
        }
        result
    }

    fn expand_in_scope(&mut self, definition: &Macro, given: Given) -> Result<Value, Fault> {
        let Macro { name, parameters, body } = definition;
        if given.positional.len() > parameters.len() {
            return Err(Fault::wrong(format!(
                "`{name}` takes {} arguments, not {}",
                parameters.len(),
                given.positional.len()
            )));
        }
        if let Some((unknown, _)) =
            given.named.iter().find(|(given, _)| parameters.iter().all(|(known, _)| known != given))
        {
            return Err(Fault::wrong(format!("`{name}` has no parameter `{unknown}`")));
        }
        let mut positional = given.positional.into_iter();
        for (parameter, default) in parameters {
            let named = || given.named.iter().find(|(given, _)| given == parameter).map(|(_, value)| value.clone());
            let value = match (positional.next().or_else(named), default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => Value::Undefined,
            };
            self.set(parameter, value);
        }
        let mut text = String::new();
        self.block(body, &mut text)?;
        Ok(Value::text(text))
    }

    fn builtin(&mut self, name: &str, given: Given) -> Result<Value, Fault> {
        match name {
            "raise_exception" => {
                let [message] = given.bind(["message"])?;
                let mut text = String::new();
                message.iter().for_each(|message| print::print(message, &mut text));
                Err(Fault::Raised(text))
            }
            "strftime_now" => {
                let [format] = given.bind(["format"])?;
                let format = format
                    .as_ref()
                    .and_then(Value::as_text)
                    .ok_or_else(|| Fault::wrong("strftime_now needs a format"))?;
                self.spend_bytes(format.len().saturating_mul(16))?;
                Ok(self.now.map_or(Value::Undefined, |now| Value::text(now.format(format))))
            }
            "range" => {
                let [first, second, step] =
                    given.bind(["start", "stop", "step"])?.map(|value| value.and_then(|value| value.as_int()));
                let (start, stop) = match (first, second) {
                    (Some(stop), None) => (0, stop),
                    (Some(start), Some(stop)) => (start, stop),
                    _ => return Err(Fault::wrong("range needs integers")),
                };
                self.range(start, stop, step.unwrap_or(1))
            }
            // namespace and dict: an optional mapping or list of pairs, then named fields
            _ => {
                let entries = self.fields(given)?;
                if name == "dict" {
                    return Value::map(entries);
                }
                let namespace = Namespace::new(RefCell::default());
                for (name, value) in entries {
                    let name = name.as_text().ok_or_else(|| Fault::wrong("a namespace needs names"))?;
                    if matches!(value, Value::Namespace(_) | Value::Loop(_)) {
                        return Err(Fault::wrong(format!("a {} cannot be put into a namespace", value.type_name())));
                    }
                    put(&namespace, name, value);
                }
                Ok(Value::Namespace(namespace))
            }
        }
    }

    fn fields(&mut self, given: Given) -> Result<Vec<(Value, Value)>, Fault> {
        let mut entries = Vec::new();
        for value in given.positional {
            match &value {
                Value::Map(map) => entries.extend(map.entries.iter().cloned()),
                other => {
                    for pair in &self.items(other)?.items {
                        match &self.items(pair)?.items[..] {
                            [key, value] => entries.push((key.clone(), value.clone())),
                            _ => return Err(Fault::wrong("dict and namespace need pairs")),
                        }
                    }
                }
            }
            self.spend(entries.len() as u64)?;
        }
        entries.extend(given.named.into_iter().map(|(name, value)| (Value::Text(name), value)));
        Ok(entries)
    }

    fn range(&mut self, start: i64, stop: i64, step: i64) -> Result<Value, Fault> {
        if step == 0 {
            return Err(Fault::wrong("range cannot step by zero"));
        }
        let distance =
            if step > 0 { i128::from(stop) - i128::from(start) } else { i128::from(start) - i128::from(stop) };
        let length =
            usize::try_from((distance.max(0) + i128::from(step.unsigned_abs()) - 1) / i128::from(step.unsigned_abs()));
        let length = length.ok().filter(|&length| length <= MAX_RANGE);
        let length = length.ok_or_else(|| Fault::Limit(format!("a range of more than {MAX_RANGE} numbers")))?;
        self.spend(length as u64)?;
        Value::list((0..length as i64).map(|i| Value::Int(start + i * step)).collect())
    }

    /// `append`, `extend` and `pop` on a list that a variable or a namespace holds: that place gets a new list.
    fn change_list(&mut self, place: &Expr, method: &str, given: &Given) -> Result<Option<Value>, Fault> {
        if !["append", "extend", "pop"].contains(&method) {
            return Ok(None);
        }
        let Value::List(list) = self.eval(place)? else { return Ok(None) };
        self.spend(list.items.len() as u64 / 4)?;
        let mut items = list.items.clone();
        let result = match (method, &given.positional[..]) {
            ("append", [item]) => {
                items.push(item.clone());
                Value::None
            }
            ("extend", [more]) => {
                items.extend(self.items(more)?.items.iter().cloned());
                Value::None
            }
            ("pop", []) if !items.is_empty() => items.remove(items.len() - 1),
            ("pop", [index]) => {
                let at = index.as_int().and_then(|index| self::place(index, items.len()));
                items.remove(at.ok_or_else(|| Fault::wrong("pop of an item that is not there"))?)
            }
            _ => return Err(Fault::wrong(format!("wrong arguments of {method}"))),
        };
        let changed = Value::List(Rc::new(List::new(items, false)?));
        match place {
            Expr::Name(name) => {
                let scope = self.scopes.iter_mut().rev().find(|scope| scope.contains_key(name));
                scope.and_then(|scope| scope.insert(Text::clone(name), changed));
            }
            Expr::Field(object, field) => match self.eval(object)? {
                Value::Namespace(fields) => put(&fields, field, changed),
                other => return Err(Fault::wrong(format!("a list in a {} cannot be changed", other.type_name()))),
            },
            _ => return Err(Fault::wrong("only a list in a variable or a namespace can be changed")),
        }
        Ok(Some(result))
    }
}

impl Given {
    /// The arguments in the order of these parameters; more or others are an error.
    pub(super) fn bind<const N: usize>(self, parameters: [&str; N]) -> Result<[Option<Value>; N], Fault> {
        if self.positional.len() > N {
            return Err(Fault::wrong(format!("at most {N} arguments, not {}", self.positional.len())));
        }
        let mut bound = [const { None }; N];
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            match parameters.iter().position(|parameter| **parameter == *name) {
                Some(at) => bound[at] = Some(value),
                None => return Err(Fault::wrong(format!("there is no parameter `{name}`"))),
            }
        }
        Ok(bound)
    }
}
