//! The filters, `value|name(arguments)`, and the tests, `value is name(arguments)`.

use std::cmp::Ordering;

use super::Fault;
use super::ast::{Operator, Text};
use super::calls::Given;
use super::machine::Machine;
use super::print::{self, Layout};
use super::value::{Function, Value};

impl Machine {
    pub(super) fn filter(&mut self, name: &Text, value: Value, given: Given) -> Result<Value, Fault> {
        match &**name {
            "default" | "d" => {
                let [default, boolean] = given.bind(["default_value", "boolean"])?;
                let missing = match boolean {
                    Some(boolean) if boolean.is_true() => !value.is_true(),
                    _ => matches!(value, Value::Undefined),
                };
                Ok(if missing { default.unwrap_or_else(|| Value::text("")) } else { value })
            }
            "length" | "count" => match &value {
                Value::Text(text) => {
                    self.spend_bytes(text.len())?;
                    Ok(Value::Int(text.chars().count() as i64))
                }
                other => Ok(Value::Int(self.items(other)?.items.len() as i64)),
            },
            "upper" | "lower" | "capitalize" | "title" | "trim" | "replace" => {
                let method = if &**name == "trim" { "strip" } else { name };
                let text = self.text_of(&value)?;
                self.method(&Value::Text(text), method, given)
            }
            "string" => Ok(Value::Text(self.text_of(&value)?)),
            // Nothing is escaped on the way out, so everything is safe as it is.
            "safe" => Ok(value),
            "escape" | "e" => {
                let text = self.text_of(&value)?;
                self.spend_bytes(text.len().saturating_mul(5))?;
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                Ok(Value::text(text.replace('"', "&#34;").replace('\'', "&#39;")))
            }
            "tojson" => self.json(&value, given),
            "indent" => self.indent(&value, given),
            "int" => {
                let [default, base] = given.bind(["default", "base"])?;
                let base = base.and_then(|base| base.as_int()).unwrap_or(10);
                let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
                let base = base.ok_or_else(|| Fault::wrong("int needs a base from 2 to 36"))?;
                let number = match &value {
                    Value::Text(text) => {
                        let text = text.trim();
                        i64::from_str_radix(text, base).ok().or_else(|| Some(text.parse::<f64>().ok()? as i64))
                    }
                    other => other.as_int().or_else(|| Some(other.as_float()? as i64)),
                };
                Ok(number.map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
            }
            "float" => {
                let [default] = given.bind(["default"])?;
                let number = value.as_text().map_or_else(|| value.as_float(), |text| text.trim().parse().ok());
                Ok(number.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
            }
            "abs" => match value {
                Value::Float(value) => Ok(Value::Float(value.abs())),
                other => {
                    let size = other.as_int().and_then(i64::checked_abs);
                    size.map(Value::Int).ok_or_else(|| Fault::wrong("abs needs a number"))
                }
            },
            "round" => {
                let [precision] = given.bind(["precision"])?;
                let digits = precision.and_then(|value| value.as_int()).unwrap_or(0).clamp(0, 20) as usize;
                let number = value.as_float().ok_or_else(|| Fault::wrong("round needs a number"))?;
                // Written out, a number is rounded by its exact value, as Python does.
                Ok(Value::Float(format!("{number:.digits$}").parse().unwrap_or(number)))
            }
            "items" => self.method(&value, "items", given),
            "dictsort" => {
                let [_, by, reverse] = given.bind(["case_sensitive", "by", "reverse"])?;
                let by_value = by.as_ref().and_then(Value::as_text).is_some_and(|by| **by == *"value");
                let pairs = self.method(&value, "items", Given::default())?;
                let place = Value::Int(i64::from(by_value));
                self.sort(&pairs, Some(&place), reverse.is_some_and(|reverse| reverse.is_true()))
            }
            _ => self.list_filter(name, &value, given),
        }
    }

    /// The filters that go through items.
    fn list_filter(&mut self, name: &Text, value: &Value, given: Given) -> Result<Value, Fault> {
        // As in Jinja, a filter that chooses among items makes nothing of nothing.
        let value = if matches!(value, Value::None) { &Value::Undefined } else { value };
        match &**name {
            "list" => Value::list(self.items(value)?.items.clone()),
            "first" => Ok(self.items(value)?.items.first().cloned().unwrap_or(Value::Undefined)),
            "last" => Ok(self.items(value)?.items.last().cloned().unwrap_or(Value::Undefined)),
            "reverse" => {
                let items = self.items(value)?;
                self.spend(items.items.len() as u64)?;
                let reversed: Vec<Value> = items.items.iter().rev().cloned().collect();
                match value {
                    Value::Text(_) => {
                        Ok(Value::text(reversed.iter().filter_map(Value::as_text).map(|c| &**c).collect::<String>()))
                    }
                    _ => Value::list(reversed),
                }
            }
            "join" => {
                let [separator, attribute] = given.bind(["d", "attribute"])?;
                let separator = separator.unwrap_or_else(|| Value::text(""));
                let items = self.attributes(value, attribute.as_ref())?;
                self.join(&separator, &items)
            }
            "sort" => {
                let [reverse, _, attribute] = given.bind(["reverse", "case_sensitive", "attribute"])?;
                self.sort(value, attribute.as_ref(), reverse.is_some_and(|reverse| reverse.is_true()))
            }
            "unique" => {
                let [_, attribute] = given.bind(["case_sensitive", "attribute"])?;
                let keys = self.attributes(value, attribute.as_ref())?;
                let items = self.items(value)?;
                let mut kept: Vec<(Value, Value)> = Vec::new();
                for (key, item) in keys.into_iter().zip(&items.items) {
                    let mut known = false;
                    for (other, _) in &kept {
                        known = known || self.equal(&key, other)?;
                    }
                    if !known {
                        kept.push((key, item.clone()));
                    }
                }
                Value::list(kept.into_iter().map(|(_, item)| item).collect())
            }
            "min" | "max" => {
                let [_, attribute] = given.bind(["case_sensitive", "attribute"])?;
                let sorted = self.sort(value, attribute.as_ref(), &**name == "max")?;
                Ok(self.items(&sorted)?.items.first().cloned().unwrap_or(Value::Undefined))
            }
            "sum" => {
                let [attribute, start] = given.bind(["attribute", "start"])?;
                let mut sum = start.unwrap_or(Value::Int(0));
                for item in self.attributes(value, attribute.as_ref())? {
                    sum = self.binary(Operator::Add, sum, item)?;
                }
                Ok(sum)
            }
            "map" => self.map(value, given),
            "select" => self.select(value, None, given.positional, true),
            "reject" => self.select(value, None, given.positional, false),
            "selectattr" | "rejectattr" => {
                let mut positional = given.positional.into_iter();
                let attribute = positional.next().ok_or_else(|| Fault::wrong(format!("{name} needs an attribute")))?;
                self.select(value, Some(&attribute), positional.collect(), &**name == "selectattr")
            }
            _ => Err(Fault::wrong(format!("there is no filter `{name}`"))),
        }
    }

    pub(super) fn text_of(&mut self, value: &Value) -> Result<Text, Fault> {
        if let Value::Text(text) = value {
            return Ok(Text::clone(text));
        }
        self.spend_bytes(value.size().weight as usize)?;
        let mut text = String::new();
        print::plain(value, &mut text);
        Ok(text.into())
    }

    fn json(&mut self, value: &Value, given: Given) -> Result<Value, Fault> {
        let [ascii, indent, separators, sort_keys] =
            given.bind(["ensure_ascii", "indent", "separators", "sort_keys"])?;
        let indent = match indent.as_ref().and_then(Value::as_int) {
            Some(indent @ 0..=16) => Some(indent as usize),
            Some(_) => return Err(Fault::wrong("tojson indents by 0 to 16")),
            None => None,
        };
        let (mut item_separator, mut key_separator): (Text, Text) =
            (if indent.is_some() { "," } else { ", " }.into(), ": ".into());
        if let Some(Value::List(separators)) = separators {
            if let [Value::Text(item), Value::Text(key)] = &separators.items[..] {
                (item_separator, key_separator) = (Text::clone(item), Text::clone(key));
            }
            if item_separator.len() + key_separator.len() > 16 {
                return Err(Fault::wrong("tojson separates with short strings"));
            }
        }
        let flag = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let layout = Layout {
            indent,
            item_separator: item_separator.to_string(),
            key_separator: key_separator.to_string(),
            ascii: flag(ascii),
            sort_keys: flag(sort_keys),
        };
        // An item weighs at least 4 bytes, stands on a line of its own, and its letters may become escapes.
        let size = value.size();
        let margin = indent.unwrap_or(0) as u64 * u64::from(size.depth) / 4 + 2;
        self.spend_bytes(size.weight.saturating_mul(margin) as usize)?;
        let mut text = String::new();
        print::json(value, &layout, 0, &mut text);
        Ok(Value::text(text))
    }

    fn indent(&mut self, value: &Value, given: Given) -> Result<Value, Fault> {
        let [width, first, blank] = given.bind(["width", "first", "blank"])?;
        let margin = match width {
            Some(Value::Text(margin)) => margin.to_string(),
            Some(other) => {
                let width = other.as_int().and_then(|width| usize::try_from(width).ok());
                " ".repeat(
                    width.filter(|&width| width <= 256).ok_or_else(|| Fault::wrong("indent takes 0 to 256 blanks"))?,
                )
            }
            None => "    ".into(),
        };
        let flag = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let (first, blank) = (flag(first), flag(blank));
        let text = self.text_of(value)?;
        let lines = text.split('\n').count();
        self.spend_bytes(text.len().saturating_add(lines.saturating_mul(margin.len())))?;
        let mut indented = String::new();
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                indented.push('\n');
            }
            if if i == 0 { first } else { blank || !line.is_empty() } {
                indented.push_str(&margin);
            }
            indented.push_str(line);
        }
        Ok(Value::text(indented))
    }

    /// The items, or a field of each: `a.b` goes deeper, a number indexes.
    fn attributes(&mut self, value: &Value, attribute: Option<&Value>) -> Result<Vec<Value>, Fault> {
        let items = self.items(value)?;
        let mut found = Vec::with_capacity(items.items.len());
        for item in &items.items {
            self.spend(1)?;
            found.push(match attribute {
                None => item.clone(),
                Some(attribute) => self.attribute(item, attribute)?,
            });
        }
        Ok(found)
    }

    fn attribute(&mut self, item: &Value, attribute: &Value) -> Result<Value, Fault> {
        let Value::Text(path) = attribute else { return self.item(item, attribute) };
        let mut value = item.clone();
        for step in path.split('.') {
            value = match step.parse::<i64>() {
                Ok(index) => self.item(&value, &Value::Int(index))?,
                Err(_) => self.field(&value, step)?,
            };
        }
        Ok(value)
    }

    pub(super) fn join(&mut self, separator: &Value, items: &[Value]) -> Result<Value, Fault> {
        let mut text = String::new();
        for (i, item) in items.iter().enumerate() {
            let weight = item.size().weight.saturating_add(separator.size().weight);
            self.spend_bytes(weight as usize)?;
            if i > 0 {
                print::plain(separator, &mut text);
            }
            print::plain(item, &mut text);
        }
        Ok(Value::text(text))
    }

    fn sort(&mut self, value: &Value, attribute: Option<&Value>, reverse: bool) -> Result<Value, Fault> {
        let keys = self.attributes(value, attribute)?;
        let items = self.items(value)?;
        let mut pairs: Vec<(Value, Value)> = keys.into_iter().zip(items.items.iter().cloned()).collect();
        let mut fault = None;
        // A merge sort compares n log n times; each comparison pays for itself, and after a fault nothing more is compared.
        pairs.sort_by(|a, b| {
            if fault.is_some() {
                return Ordering::Equal;
            }
            let order = match (&a.0, &b.0) {
                (Value::Text(a), Value::Text(b)) => {
                    let cost = a.len().saturating_add(b.len());
                    self.spend_bytes(cost).map(|()| Some(a.to_lowercase().cmp(&b.to_lowercase())))
                }
                (a, b) => self.order(a, b),
            };
            let order = order.unwrap_or_else(|error| {
                fault = Some(error);
                None
            });
            let order = order.unwrap_or(Ordering::Equal);
            if reverse { order.reverse() } else { order }
        });
        match fault {
            Some(fault) => Err(fault),
            None => Value::list(pairs.into_iter().map(|(_, item)| item).collect()),
        }
    }

    /// `map('filter', …)` or `map(attribute='name', default=…)`
    fn map(&mut self, value: &Value, given: Given) -> Result<Value, Fault> {
        let named = |name: &str| given.named.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.clone());
        if let Some(attribute) = named("attribute") {
            let default = named("default");
            let found = self.attributes(value, Some(&attribute))?;
            let or_default = |value| match (value, &default) {
                (Value::Undefined, Some(default)) => default.clone(),
                (value, _) => value,
            };
            return Value::list(found.into_iter().map(or_default).collect());
        }
        let mut positional = given.positional.into_iter();
        let Some(Value::Text(name)) = positional.next() else {
            return Err(Fault::wrong("map needs a filter or an attribute"));
        };
        let rest: Vec<Value> = positional.collect();
        let items = self.items(value)?;
        let mut mapped = Vec::with_capacity(items.items.len());
        for item in &items.items {
            self.spend(1)?;
            let given = Given { positional: rest.clone(), named: given.named.clone() };
            mapped.push(self.filter(&name, item.clone(), given)?);
        }
        Value::list(mapped)
    }

    /// Keeps the items whose test, on the item or on its attribute, comes out as `wanted`.
    fn select(
        &mut self,
        value: &Value,
        attribute: Option<&Value>,
        test: Vec<Value>,
        wanted: bool,
    ) -> Result<Value, Fault> {
        let items = self.items(value)?;
        let mut kept = Vec::new();
        for item in &items.items {
            self.spend(1)?;
            let subject = match attribute {
                Some(attribute) => self.attribute(item, attribute)?,
                None => item.clone(),
            };
            let passes = match &test[..] {
                [] => subject.is_true(),
                [Value::Text(name), arguments @ ..] => self.test(name, &subject, arguments)?,
                _ => return Err(Fault::wrong("the name of a test must be a string")),
            };
            if passes == wanted {
                kept.push(item.clone());
            }
        }
        Value::list(kept)
    }

    pub(super) fn test(&mut self, name: &str, value: &Value, arguments: &[Value]) -> Result<bool, Fault> {
        let argument = || arguments.first().ok_or_else(|| Fault::wrong(format!("the test `{name}` needs an argument")));
        let integer =
            |value: &Value| value.as_int().ok_or_else(|| Fault::wrong(format!("the test `{name}` needs integers")));
        Ok(match name {
            "defined" => !matches!(value, Value::Undefined),
            "undefined" => matches!(value, Value::Undefined),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "string" => matches!(value, Value::Text(_)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => matches!(value, Value::Int(_) | Value::Float(_)),
            "mapping" => matches!(value, Value::Map(_)),
            "iterable" | "sequence" => {
                matches!(value, Value::List(_) | Value::Map(_) | Value::Text(_) | Value::Undefined)
            }
            "callable" => matches!(value, Value::Function(Function::Macro(..) | Function::Builtin(_))),
            "odd" => integer(value)? % 2 != 0,
            "even" => integer(value)? % 2 == 0,
            "divisibleby" => integer(value)?.checked_rem(integer(argument()?)?) == Some(0),
            "lower" => value.as_text().is_some_and(|text| text.chars().all(|c| !c.is_uppercase())),
            "upper" => value.as_text().is_some_and(|text| text.chars().all(|c| !c.is_lowercase())),
            "in" => self.contains(argument()?, value)?,
            "eq" | "equalto" | "sameas" => self.equal(value, argument()?)?,
            "ne" => !self.equal(value, argument()?)?,
            "lt" | "lessthan" => self.order(value, argument()?)? == Some(Ordering::Less),
            "gt" | "greaterthan" => self.order(value, argument()?)? == Some(Ordering::Greater),
            "le" => self.order(value, argument()?)?.is_some_and(Ordering::is_le),
            "ge" => self.order(value, argument()?)?.is_some_and(Ordering::is_ge),
            _ => return Err(Fault::wrong(format!("there is no test `{name}`"))),
        })
    }
}
