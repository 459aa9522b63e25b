//! What the operators do with two values. Python's rules; a missing or null part of a text counts as empty, as in llama.cpp.

use std::cmp::Ordering;
use std::rc::Rc;

use super::Fault;
use super::ast::Operator;
use super::machine::Machine;
use super::print;
use super::value::Value;

impl Machine {
    pub(super) fn binary(&mut self, operator: Operator, left: Value, right: Value) -> Result<Value, Fault> {
        Ok(match operator {
            Operator::Equal => Value::Bool(self.equal(&left, &right)?),
            Operator::Unequal => Value::Bool(!self.equal(&left, &right)?),
            Operator::Less => Value::Bool(self.order(&left, &right)? == Some(Ordering::Less)),
            Operator::Greater => Value::Bool(self.order(&left, &right)? == Some(Ordering::Greater)),
            Operator::LessOrEqual => Value::Bool(self.order(&left, &right)?.is_some_and(Ordering::is_le)),
            Operator::GreaterOrEqual => Value::Bool(self.order(&left, &right)?.is_some_and(Ordering::is_ge)),
            Operator::In => Value::Bool(self.contains(&right, &left)?),
            Operator::NotIn => Value::Bool(!self.contains(&right, &left)?),
            Operator::Concatenate => self.concatenate(&left, &right)?,
            Operator::Add => match (&left, &right) {
                (Value::List(a), Value::List(b)) => {
                    self.spend((a.items.len() + b.items.len()) as u64)?;
                    let items = a.items.iter().chain(&b.items).cloned().collect();
                    if a.tuple { Value::tuple(items)? } else { Value::list(items)? }
                }
                (Value::Text(_), _) | (_, Value::Text(_)) => self.concatenate(&left, &right)?,
                _ => arithmetic(operator, &left, &right)?,
            },
            Operator::Multiply => match (&left, &right) {
                (Value::Text(text), count) | (count, Value::Text(text)) => {
                    let count =
                        usize::try_from(count.as_int().ok_or_else(|| mismatch("*", &left, &right))?).unwrap_or(0);
                    self.spend_bytes(text.len().saturating_mul(count))?;
                    Value::text(text.repeat(count))
                }
                (Value::List(list), count) | (count, Value::List(list)) => {
                    let count =
                        usize::try_from(count.as_int().ok_or_else(|| mismatch("*", &left, &right))?).unwrap_or(0);
                    self.spend(list.items.len().saturating_mul(count) as u64)?;
                    Value::list(std::iter::repeat_n(&list.items, count).flatten().cloned().collect())?
                }
                _ => arithmetic(operator, &left, &right)?,
            },
            _ => arithmetic(operator, &left, &right)?,
        })
    }

    /// Both as text, one after the other.
    pub(super) fn concatenate(&mut self, left: &Value, right: &Value) -> Result<Value, Fault> {
        self.spend_bytes(left.size().weight.saturating_add(right.size().weight) as usize)?;
        let mut text = String::new();
        print::print(left, &mut text);
        print::print(right, &mut text);
        Ok(Value::text(text))
    }

    /// `item in container`
    pub(super) fn contains(&mut self, container: &Value, item: &Value) -> Result<bool, Fault> {
        match container {
            Value::Undefined => Ok(false),
            Value::Text(text) => {
                self.spend_bytes(text.len())?;
                match item {
                    Value::Text(part) => Ok(text.contains(&**part)),
                    other => Err(Fault::wrong(format!("a {} cannot be in a string", other.type_name()))),
                }
            }
            Value::List(list) => {
                for candidate in &list.items {
                    if self.equal(candidate, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => {
                self.spend(map.entries.len() as u64 / 8)?;
                Ok(map.entry(item).is_some())
            }
            Value::Namespace(fields) => Ok(fields.borrow().iter().any(|(name, _)| item.as_text() == Some(name))),
            other => Err(Fault::wrong(format!("nothing can be in a {}", other.type_name()))),
        }
    }

    /// `left == right`, paid by the lighter side.
    pub(super) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        self.spend_bytes(left.size().weight.min(right.size().weight) as usize)?;
        Ok(equal(left, right))
    }

    /// Which of two comes first; `None` for numbers that cannot be told apart (not a number).
    pub(super) fn order(&mut self, left: &Value, right: &Value) -> Result<Option<Ordering>, Fault> {
        match (left, right) {
            (Value::Text(a), Value::Text(b)) => {
                self.spend_bytes(a.len().min(b.len()))?;
                Ok(Some(a.cmp(b)))
            }
            _ => match (left.as_int(), right.as_int()) {
                (Some(a), Some(b)) => Ok(Some(a.cmp(&b))),
                _ => match (left.as_float(), right.as_float()) {
                    (Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
                    _ => Err(mismatch("order", left, right)),
                },
            },
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            Rc::ptr_eq(a, b)
                || (a.tuple == b.tuple
                    && a.items.len() == b.items.len()
                    && a.items.iter().zip(&b.items).all(|(a, b)| equal(a, b)))
        }
        (Value::Map(a), Value::Map(b)) => {
            Rc::ptr_eq(a, b)
                || (a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|(key, value)| b.entry(key).is_some_and(|other| equal(value, other))))
        }
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        _ => match (left.as_int(), right.as_int()) {
            (Some(a), Some(b)) => a == b,
            _ => matches!((left.as_float(), right.as_float()), (Some(a), Some(b)) if a == b),
        },
    }
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
    let sign = match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Remainder => "%",
        _ => "**",
    };
    let (Some(a), Some(b)) = (left.as_float(), right.as_float()) else { return Err(mismatch(sign, left, right)) };
    if b == 0.0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder) {
        return Err(Fault::wrong("division by zero"));
    }
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        let result = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            // Python rounds towards minus infinity, and a remainder has the sign of the divisor.
            Operator::FloorDivide => {
                a.checked_div_euclid(b).map(|q| if b < 0 && a.wrapping_rem_euclid(b) != 0 { q - 1 } else { q })
            }
            Operator::Remainder => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
            Operator::Power if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            _ => {
                return Ok(Value::Float(if operator == Operator::Divide {
                    a as f64 / b as f64
                } else {
                    (a as f64).powf(b as f64)
                }));
            }
        };
        return result
            .map(Value::Int)
            .ok_or_else(|| Fault::wrong(format!("the result of {a} {sign} {b} is too large")));
    }
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::FloorDivide => (a / b).floor(),
        Operator::Remainder => a - b * (a / b).floor(),
        _ => a.powf(b),
    }))
}

fn mismatch(sign: &str, left: &Value, right: &Value) -> Fault {
    Fault::wrong(format!("`{sign}` cannot be done with a {} and a {}", left.type_name(), right.type_name()))
}
