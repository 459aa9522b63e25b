//! The methods that templates call on strings, lists and mappings, with Python's meaning.

use super::Fault;
use super::ast::Text;
use super::calls::Given;
use super::machine::Machine;
use super::print;
use super::value::{Map, Value};

const WITHOUT_ARGUMENTS: [&str; 10] =
    ["upper", "lower", "title", "capitalize", "isdigit", "isnumeric", "isalpha", "isalnum", "isupper", "islower"];

impl Machine {
    /// `object.name(arguments)`
    pub(super) fn method(&mut self, object: &Value, name: &str, given: Given) -> Result<Value, Fault> {
        let found = match object {
            Value::Text(text) => self.text_method(text, name, given)?,
            Value::Map(map) => self.map_method(map, name, given)?,
            Value::List(list) => match name {
                "count" => {
                    let [wanted] = given.bind(["value"])?;
                    let mut count = 0;
                    for item in &list.items {
                        count += i64::from(self.equal(item, wanted.as_ref().unwrap_or(&Value::Undefined))?);
                    }
                    Some(Value::Int(count))
                }
                _ => None,
            },
            // What is missing has no entries, as in llama.cpp.
            Value::Undefined | Value::None if name == "items" => Some(Value::list(Vec::new())?),
            _ => None,
        };
        found.ok_or_else(|| Fault::wrong(format!("a {} has no method `{name}`", object.type_name())))
    }

    fn map_method(&mut self, map: &Map, name: &str, given: Given) -> Result<Option<Value>, Fault> {
        self.spend(map.entries.len() as u64 / 8)?;
        Ok(Some(match name {
            "get" => {
                let [key, default] = given.bind(["key", "default"])?;
                let found = key.and_then(|key| map.entry(&key).cloned());
                found.unwrap_or_else(|| default.unwrap_or(Value::None))
            }
            "keys" => Value::list(map.entries.iter().map(|(key, _)| key.clone()).collect())?,
            "values" => Value::list(map.entries.iter().map(|(_, value)| value.clone()).collect())?,
            "items" => {
                self.spend(map.entries.len() as u64 * 2)?;
                let pairs = map.entries.iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()]));
                Value::list(pairs.collect::<Result<_, _>>()?)?
            }
            _ => return Ok(None),
        }))
    }

    fn text_method(&mut self, text: &Text, name: &str, given: Given) -> Result<Option<Value>, Fault> {
        self.spend_bytes(text.len())?;
        let given = if WITHOUT_ARGUMENTS.contains(&name) { given.bind([]).map(|[]| Given::default())? } else { given };
        Ok(Some(match name {
            "upper" => Value::text(text.to_uppercase()),
            "lower" => Value::text(text.to_lowercase()),
            "title" => Value::text(title(text)),
            "capitalize" => {
                let mut letters = text.chars();
                let first: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
                Value::text(first + &letters.as_str().to_lowercase())
            }
            "strip" | "lstrip" | "rstrip" => {
                let [letters] = given.bind(["chars"])?;
                let letters = letters.as_ref().and_then(Value::as_text);
                self.spend(
                    (text.len() as u64).saturating_mul(letters.map_or(0, |letters| letters.len() as u64)) / 128,
                )?;
                let strips = |c: char| letters.map_or_else(|| c.is_whitespace(), |letters| letters.contains(c));
                let rest = if name == "rstrip" { text } else { text.trim_start_matches(strips) };
                Value::text(if name == "lstrip" { rest } else { rest.trim_end_matches(strips) })
            }
            "startswith" | "endswith" => {
                let [affixes] = given.bind(["prefix"])?;
                let affixes = affixes.unwrap_or(Value::Undefined);
                let fits = |affix: &Value| match affix.as_text() {
                    Some(affix) if name == "startswith" => Ok(text.starts_with(&**affix)),
                    Some(affix) => Ok(text.ends_with(&**affix)),
                    None => Err(Fault::wrong(format!("{name} needs a string or strings"))),
                };
                match &affixes {
                    Value::List(list) => {
                        self.spend(list.items.len() as u64)?;
                        let mut any = false;
                        for affix in &list.items {
                            any = any || fits(affix)?;
                        }
                        Value::Bool(any)
                    }
                    affix => Value::Bool(fits(affix)?),
                }
            }
            "split" | "rsplit" => {
                let [separator, limit] = given.bind(["sep", "maxsplit"])?;
                self.split(text, name == "rsplit", separator, limit)?
            }
            "splitlines" => {
                let [_] = given.bind(["keepends"])?;
                self.spend(text.len() as u64 / 4)?;
                Value::list(text.lines().map(Value::text).collect())?
            }
            "replace" => {
                let [old, new, count] = given.bind(["old", "new", "count"])?;
                let (old, new) = (need_text(old, name)?, need_text(new, name)?);
                let count = count.and_then(|count| count.as_int()).and_then(|count| usize::try_from(count).ok());
                let matches = text.matches(&*old).count().min(count.unwrap_or(usize::MAX));
                self.spend_bytes(text.len().saturating_add(matches.saturating_mul(new.len())))?;
                Value::text(text.replacen(&*old, &new, matches))
            }
            "removeprefix" | "removesuffix" => {
                let [affix] = given.bind(["affix"])?;
                let affix = need_text(affix, name)?;
                let rest = if name == "removeprefix" { text.strip_prefix(&*affix) } else { text.strip_suffix(&*affix) };
                Value::text(rest.unwrap_or(text))
            }
            "join" => {
                let [items] = given.bind(["items"])?;
                let items = self.items(&items.unwrap_or(Value::Undefined))?;
                self.join(&Value::Text(Text::clone(text)), &items.items)?
            }
            "find" | "rfind" => {
                let [part] = given.bind(["sub"])?;
                let part = need_text(part, name)?;
                let at = if name == "find" { text.find(&*part) } else { text.rfind(&*part) };
                Value::Int(at.map_or(-1, |at| text[..at].chars().count() as i64))
            }
            "count" => {
                let [part] = given.bind(["sub"])?;
                Value::Int(text.matches(&*need_text(part, name)?).count() as i64)
            }
            "format" => Value::text(self.format(text, given)?),
            "isdigit" | "isnumeric" => Value::Bool(!text.is_empty() && text.chars().all(char::is_numeric)),
            "isalpha" => Value::Bool(!text.is_empty() && text.chars().all(char::is_alphabetic)),
            "isalnum" => Value::Bool(!text.is_empty() && text.chars().all(char::is_alphanumeric)),
            "isspace" => Value::Bool(!text.is_empty() && text.chars().all(char::is_whitespace)),
            "isupper" => Value::Bool(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
            "islower" => Value::Bool(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
            _ => return Ok(None),
        }))
    }

    fn split(
        &mut self,
        text: &str,
        from_end: bool,
        separator: Option<Value>,
        limit: Option<Value>,
    ) -> Result<Value, Fault> {
        let limit = limit.and_then(|limit| usize::try_from(limit.as_int()?).ok()).unwrap_or(usize::MAX);
        let parts: Vec<&str> = match separator {
            None | Some(Value::None) => {
                self.spend(text.len() as u64 / 4)?;
                split_blanks(text, from_end, limit)
            }
            Some(separator) => {
                let separator = need_text(Some(separator), "split")?;
                if separator.is_empty() {
                    return Err(Fault::wrong("split needs a separator that is not empty"));
                }
                self.spend(text.matches(&*separator).count() as u64)?;
                let pieces = limit.saturating_add(1);
                if from_end {
                    let mut parts: Vec<&str> = text.rsplitn(pieces, &*separator).collect();
                    parts.reverse();
                    parts
                } else {
                    text.splitn(pieces, &*separator).collect()
                }
            }
        };
        Value::list(parts.into_iter().map(Value::text).collect())
    }

    /// `'{} and {0} and {name}'.format(…)`, without format specifications.
    fn format(&mut self, text: &str, given: Given) -> Result<String, Fault> {
        let mut result = String::new();
        let (mut rest, mut next) = (text, 0);
        while let Some(at) = rest.find(['{', '}']) {
            result.push_str(&rest[..at]);
            let (bracket, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(bracket) {
                result.push_str(bracket);
                rest = after;
                continue;
            }
            let end =
                after.find('}').filter(|_| bracket == "{").ok_or_else(|| Fault::wrong("a lone bracket in a format"))?;
            let field = &after[..end];
            let value = match field.parse::<usize>() {
                Ok(index) => given.positional.get(index),
                Err(_) if field.is_empty() => {
                    next += 1;
                    given.positional.get(next - 1)
                }
                Err(_) => given.named.iter().find(|(name, _)| **name == *field).map(|(_, value)| value),
            };
            let value = value.ok_or_else(|| Fault::wrong(format!("nothing is given for {{{field}}} of a format")))?;
            self.spend_bytes(value.size().weight as usize)?;
            print::plain(value, &mut result);
            rest = &after[end + 1..];
        }
        result.push_str(rest);
        Ok(result)
    }
}

fn need_text(value: Option<Value>, method: &str) -> Result<Text, Fault> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        other => {
            let found = other.unwrap_or(Value::Undefined);
            Err(Fault::wrong(format!("{method} needs a string, not a {}", found.type_name())))
        }
    }
}

/// Every run of letters begins with a capital and goes on in small letters.
fn title(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut inside = false;
    for letter in text.chars() {
        if inside {
            result.extend(letter.to_lowercase());
        } else {
            result.extend(letter.to_uppercase());
        }
        inside = letter.is_alphabetic();
    }
    result
}

/// Python's `split()` at runs of whitespace, at most `limit` times; the unsplit rest keeps its whitespace.
fn split_blanks(text: &str, from_end: bool, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_end { text.trim_end() } else { text.trim_start() };
    while !rest.is_empty() && parts.len() < limit {
        let cut = if from_end { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        let Some(at) = cut else { break };
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        let (before, after) = (&rest[..at], &rest[at + width..]);
        let (part, left) = if from_end { (after, before.trim_end()) } else { (before, after.trim_start()) };
        parts.push(part);
        rest = left;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    if from_end {
        parts.reverse();
    }
    parts
}
