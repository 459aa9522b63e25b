//! Runs a parsed template. Every step, every byte made and every item visited is paid from one budget.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Arguments, Expr, For, Kind, Statement, Target, Text};
use super::calls::Given;
use super::value::{Function, List, Loop, Namespace, Value};
use super::{Fault, print};
use crate::template::Now;

/// Levels of statements and expressions within each other, through macros: the stack holds these.
const MAX_STACK: usize = 400;
/// One unit of the budget pays for one step or for this many bytes.
const BYTES_PER_UNIT: usize = 128;
const BUILTINS: [&str; 5] = ["range", "namespace", "dict", "raise_exception", "strftime_now"];

pub(super) struct Machine {
    pub(super) scopes: Vec<HashMap<Text, Value>>,
    budget: u64,
    stack: usize,
    pub(super) now: Option<Now>,
    /// Line of the statement that runs.
    pub(super) line: usize,
}

/// How a block ended.
#[derive(PartialEq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl Machine {
    pub(super) fn new(variables: HashMap<Text, Value>, budget: u64, now: Option<Now>) -> Self {
        Self { scopes: vec![variables], budget, stack: 0, now, line: 1 }
    }

    pub(super) fn run(&mut self, statements: &[Statement]) -> Result<String, Fault> {
        let mut text = String::new();
        self.block(statements, &mut text)?;
        Ok(text)
    }

    pub(super) fn spend(&mut self, units: u64) -> Result<(), Fault> {
        self.budget = self.budget.saturating_sub(units);
        if self.budget == 0 { Err(Fault::Limit("too many steps or too much text".into())) } else { Ok(()) }
    }

    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.spend((bytes / BYTES_PER_UNIT) as u64 + 1)
    }

    fn deeper<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.stack >= MAX_STACK {
            return Err(Fault::Limit(format!("more than {MAX_STACK} levels of nesting at run time")));
        }
        self.stack += 1;
        let result = step(self);
        self.stack -= 1;
        result
    }

    // ---- statements ----

    pub(super) fn block(&mut self, statements: &[Statement], text: &mut String) -> Result<Flow, Fault> {
        for statement in statements {
            self.spend(1)?;
            self.line = statement.line;
            let flow = self.deeper(|machine| machine.statement(&statement.kind, text))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, kind: &Kind, text: &mut String) -> Result<Flow, Fault> {
        match kind {
            Kind::Text(raw) => {
                self.spend_bytes(raw.len())?;
                text.push_str(raw);
            }
            Kind::Emit(expr) => {
                let value = self.eval(expr)?;
                self.spend_bytes(value.size().weight as usize)?;
                print::print(&value, text);
            }
            Kind::Set(target, expr) => {
                let value = self.eval(expr)?;
                self.assign(target, value)?;
            }
            Kind::SetBlock(target, body) => {
                let mut inner = String::new();
                self.block(body, &mut inner)?;
                self.assign(target, Value::text(inner))?;
            }
            Kind::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.eval(condition)?.is_true() {
                        return self.block(body, text);
                    }
                }
                return self.block(otherwise, text);
            }
            Kind::For(repeat) => self.repeat(repeat, text)?,
            Kind::Macro(definition) => {
                let function = Value::Function(Function::Macro(Arc::clone(definition), self.scopes.len()));
                self.set(&definition.name, function);
            }
            Kind::Filter(name, arguments, body) => {
                let mut inner = String::new();
                self.block(body, &mut inner)?;
                let arguments = self.arguments(arguments)?;
                let value = self.filter(name, Value::text(inner), arguments)?;
                self.spend_bytes(value.size().weight as usize)?;
                print::print(&value, text);
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn repeat(&mut self, repeat: &For, text: &mut String) -> Result<(), Fault> {
        let items = self.eval(&repeat.items)?;
        let items = self.items(&items)?;
        self.scopes.push(HashMap::new());
        let done = self.repeat_in_scope(repeat, items, text);
        self.scopes.pop();
        if !done? {
            self.block(&repeat.otherwise, text)?;
        }
        Ok(())
    }

    /// Says whether there was an item.
    fn repeat_in_scope(&mut self, repeat: &For, mut items: Rc<List>, text: &mut String) -> Result<bool, Fault> {
        if let Some(condition) = &repeat.condition {
            let mut kept = Vec::new();
            for item in &items.items {
                self.bind_item(&repeat.names, item)?;
                if self.eval(condition)?.is_true() {
                    kept.push(item.clone());
                }
            }
            items = Rc::new(List::new(kept, false)?);
        }
        for (index, item) in items.items.iter().enumerate() {
            self.spend(1)?;
            // Each round begins without what the last one has set.
            if let Some(scope) = self.scopes.last_mut() {
                scope.clear();
            }
            self.bind_item(&repeat.names, item)?;
            self.set(&"loop".into(), Value::Loop(Rc::new(Loop { items: Rc::clone(&items), index })));
            if self.block(&repeat.body, text)? == Flow::Break {
                break;
            }
        }
        Ok(!items.items.is_empty())
    }

    fn bind_item(&mut self, names: &[Text], item: &Value) -> Result<(), Fault> {
        match names {
            [name] => self.set(name, item.clone()),
            names => self.unpack(names, item)?,
        }
        Ok(())
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<(), Fault> {
        match target {
            Target::Names(names) => match &names[..] {
                [name] => self.set(name, value),
                names => self.unpack(names, &value)?,
            },
            Target::Field(object, field) => {
                if matches!(value, Value::Namespace(_) | Value::Loop(_)) {
                    return Err(Fault::wrong(format!("a {} cannot be put into a namespace", value.type_name())));
                }
                match self.lookup(object) {
                    Value::Namespace(fields) => put(&fields, field, value),
                    other => {
                        return Err(Fault::wrong(format!(
                            "only a namespace can be assigned to, `{object}` is a {}",
                            other.type_name()
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn unpack(&mut self, names: &[Text], value: &Value) -> Result<(), Fault> {
        let items = self.items(value)?;
        if items.items.len() != names.len() {
            return Err(Fault::wrong(format!("{} names for {} items", names.len(), items.items.len())));
        }
        for (name, item) in names.iter().zip(&items.items) {
            self.set(name, item.clone());
        }
        Ok(())
    }

    pub(super) fn set(&mut self, name: &Text, value: Value) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(Text::clone(name), value);
        }
    }

    // ---- expressions ----

    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Value, Fault> {
        self.spend(1)?;
        self.deeper(|machine| machine.value_of(expr))
    }

    fn value_of(&mut self, expr: &Expr) -> Result<Value, Fault> {
        Ok(match expr {
            Expr::None => Value::None,
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Int(value) => Value::Int(*value),
            Expr::Float(value) => Value::Float(*value),
            Expr::Text(text) => Value::Text(Text::clone(text)),
            Expr::Name(name) => self.lookup(name),
            Expr::List(items) => Value::list(self.all(items)?)?,
            Expr::Tuple(items) => Value::tuple(self.all(items)?)?,
            Expr::Map(entries) => {
                let mut values = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    values.push((self.eval(key)?, self.eval(value)?));
                }
                Value::map(values)?
            }
            Expr::Field(object, name) => {
                let object = self.eval(object)?;
                self.field(&object, name)?
            }
            Expr::Item(object, index) => {
                let object = self.eval(object)?;
                let index = self.eval(index)?;
                self.item(&object, &index)?
            }
            Expr::Slice(object, bounds) => {
                let object = self.eval(object)?;
                let mut numbers = [None; 3];
                for (number, bound) in numbers.iter_mut().zip(bounds) {
                    let value = bound.as_ref().map_or(Ok(Value::None), |bound| self.eval(bound))?;
                    *number = match value {
                        Value::None | Value::Undefined => None,
                        other => Some(other.as_int().ok_or_else(|| Fault::wrong("a slice needs integers"))?),
                    };
                }
                self.slice(&object, numbers)?
            }
            Expr::Call(function, arguments) => self.call(function, arguments)?,
            Expr::Filter(value, name, arguments) => {
                let value = self.eval(value)?;
                let arguments = self.arguments(arguments)?;
                self.filter(name, value, arguments)?
            }
            Expr::Test(value, negated, name, arguments) => {
                let value = self.eval(value)?;
                let arguments = self.arguments(arguments)?;
                Value::Bool(self.test(name, &value, &arguments.positional)? != *negated)
            }
            Expr::Not(value) => Value::Bool(!self.eval(value)?.is_true()),
            Expr::Negate(value) => match self.eval(value)? {
                Value::Float(value) => Value::Float(-value),
                other => Value::Int(
                    other.as_int().and_then(i64::checked_neg).ok_or_else(|| Fault::wrong("`-` needs a number"))?,
                ),
            },
            Expr::And(left, right) => match self.eval(left)? {
                left if left.is_true() => self.eval(right)?,
                left => left,
            },
            Expr::Or(left, right) => match self.eval(left)? {
                left if left.is_true() => left,
                _ => self.eval(right)?,
            },
            Expr::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                self.binary(*operator, left, right)?
            }
            Expr::Choice(value, condition, otherwise) => {
                if self.eval(condition)?.is_true() {
                    self.eval(value)?
                } else {
                    otherwise.as_ref().map_or(Ok(Value::Undefined), |otherwise| self.eval(otherwise))?
                }
            }
        })
    }

    fn all(&mut self, exprs: &[Expr]) -> Result<Vec<Value>, Fault> {
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    pub(super) fn arguments(&mut self, arguments: &Arguments) -> Result<Given, Fault> {
        let positional = self.all(&arguments.positional)?;
        let named = arguments.named.iter().map(|(name, expr)| Ok((Text::clone(name), self.eval(expr)?)));
        Ok(Given { positional, named: named.collect::<Result<_, Fault>>()? })
    }

    fn lookup(&self, name: &str) -> Value {
        let variable = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        variable.cloned().unwrap_or_else(|| {
            match BUILTINS.contains(&name) && (name != "strftime_now" || self.now.is_some()) {
                true => Value::Function(Function::Builtin(name.into())),
                false => Value::Undefined,
            }
        })
    }

    /// `object.name`; what is not there is undefined.
    pub(super) fn field(&mut self, object: &Value, name: &str) -> Result<Value, Fault> {
        Ok(match object {
            Value::Map(map) => {
                self.spend(map.entries.len() as u64 / 8)?;
                map.get(name).cloned().unwrap_or(Value::Undefined)
            }
            Value::Namespace(fields) => {
                let fields = fields.borrow();
                fields.iter().find(|(known, _)| **known == *name).map_or(Value::Undefined, |(_, value)| value.clone())
            }
            Value::Loop(state) => state.field(name),
            _ => Value::Undefined,
        })
    }

    /// `object[index]`; what is not there is undefined.
    pub(super) fn item(&mut self, object: &Value, index: &Value) -> Result<Value, Fault> {
        Ok(match (object, index) {
            (Value::List(list), index) if index.as_int().is_some() => {
                let place = place(index.as_int().unwrap_or_default(), list.items.len());
                place.map_or(Value::Undefined, |at| list.items[at].clone())
            }
            (Value::Text(text), index) if index.as_int().is_some() => {
                self.spend_bytes(text.len())?;
                let place = place(index.as_int().unwrap_or_default(), text.chars().count());
                let letter = place.and_then(|at| text.chars().nth(at));
                letter.map_or(Value::Undefined, |letter| Value::text(letter.to_string()))
            }
            (Value::Map(map), key) => {
                self.spend(map.entries.len() as u64 / 8)?;
                map.entry(key).cloned().unwrap_or(Value::Undefined)
            }
            (object, Value::Text(name)) => self.field(object, name)?,
            _ => Value::Undefined,
        })
    }

    fn slice(&mut self, object: &Value, bounds: [Option<i64>; 3]) -> Result<Value, Fault> {
        match object {
            Value::List(list) => {
                self.spend(list.items.len() as u64)?;
                let items = indices(bounds, list.items.len())?.map(|at| list.items[at].clone()).collect();
                if list.tuple { Value::tuple(items) } else { Value::list(items) }
            }
            Value::Text(text) => {
                self.spend_bytes(text.len().saturating_mul(8))?;
                let letters: Vec<char> = text.chars().collect();
                Ok(Value::text(indices(bounds, letters.len())?.map(|at| letters[at]).collect::<String>()))
            }
            Value::Undefined => Ok(Value::Undefined),
            other => Err(Fault::wrong(format!("a {} cannot be sliced", other.type_name()))),
        }
    }

    /// What a `for` or a filter goes through: items, keys or letters.
    pub(super) fn items(&mut self, value: &Value) -> Result<Rc<List>, Fault> {
        let items = match value {
            Value::List(list) => return Ok(Rc::clone(list)),
            Value::Undefined => Vec::new(),
            Value::Map(map) => map.entries.iter().map(|(key, _)| key.clone()).collect(),
            Value::Text(text) => {
                self.spend(text.len() as u64)?;
                text.chars().map(|letter| Value::text(letter.to_string())).collect()
            }
            other => return Err(Fault::wrong(format!("a {} has no items", other.type_name()))),
        };
        self.spend(items.len() as u64)?;
        Ok(Rc::new(List::new(items, false)?))
    }
}

pub(super) fn put(namespace: &Namespace, name: &Text, value: Value) {
    let mut fields = namespace.borrow_mut();
    match fields.iter_mut().find(|(known, _)| known == name) {
        Some(field) => field.1 = value,
        None => fields.push((Text::clone(name), value)),
    }
}

/// An index that may count from the end.
pub(super) fn place(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(length as i64)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < length)
}

/// The places that Python's `[start:stop:step]` takes.
fn indices([start, stop, step]: [Option<i64>; 3], length: usize) -> Result<impl Iterator<Item = usize>, Fault> {
    let (step, length) = (step.unwrap_or(1), length as i64);
    if step == 0 {
        return Err(Fault::wrong("a slice cannot step by zero"));
    }
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |bound: i64| if bound < 0 { bound.saturating_add(length).max(low) } else { bound.min(high) };
    let start = start.map_or(if step > 0 { low } else { high }, clamp);
    let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
    let places = std::iter::successors(Some(start), move |at| at.checked_add(step));
    Ok(places.take_while(move |&at| if step > 0 { at < stop } else { at > stop }).map(|at| at as usize))
}
