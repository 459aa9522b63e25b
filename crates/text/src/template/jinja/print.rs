//! Values as text: as a template prints them, in Python's notation, and as JSON. The caller has paid for the weight.

use std::fmt::Write;

use super::value::{List, Map, Value};

/// What `{{ value }}` writes. `none` writes nothing, as in llama.cpp, since templates print fields that may be null.
pub(super) fn print(value: &Value, text: &mut String) {
    match value {
        Value::Undefined | Value::None => {}
        other => plain(other, text),
    }
}

/// Python's `str`.
pub(super) fn plain(value: &Value, text: &mut String) {
    match value {
        Value::Text(content) => text.push_str(content),
        other => repr(other, text),
    }
}

/// Python's `repr`.
fn repr(value: &Value, text: &mut String) {
    // Writing to a `String` cannot fail.
    let _ = match value {
        Value::Undefined => Ok(()),
        Value::None => text.write_str("None"),
        Value::Bool(value) => text.write_str(if *value { "True" } else { "False" }),
        Value::Int(value) => write!(text, "{value}"),
        Value::Float(value) => text.write_str(&float(*value)),
        Value::Text(content) => {
            quoted(content, text);
            Ok(())
        }
        Value::List(list) => {
            items(list, text);
            Ok(())
        }
        Value::Map(map) => {
            text.push('{');
            for (i, (key, value)) in map.entries.iter().enumerate() {
                text.push_str(if i > 0 { ", " } else { "" });
                repr(key, text);
                text.push_str(": ");
                repr(value, text);
            }
            text.write_char('}')
        }
        Value::Namespace(_) => text.write_str("<namespace>"),
        Value::Loop(_) => text.write_str("<loop>"),
        Value::Function(_) => text.write_str("<function>"),
    };
}

fn items(list: &List, text: &mut String) {
    text.push(if list.tuple { '(' } else { '[' });
    for (i, item) in list.items.iter().enumerate() {
        text.push_str(if i > 0 { ", " } else { "" });
        repr(item, text);
    }
    text.push_str(match (list.tuple, list.items.len()) {
        (true, 1) => ",)",
        (true, _) => ")",
        (false, _) => "]",
    });
}

fn quoted(content: &str, text: &mut String) {
    let quote = if content.contains('\'') && !content.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for c in content.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            c if c == quote => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push(quote);
}

/// As Python writes a float: the shortest digits that read back the same, an exponent from 1e16 and below 1e-4.
fn float(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .into();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = format!("{value}");
    if text.contains('.') { text } else { text + ".0" }
}

/// How JSON is laid out.
pub(super) struct Layout {
    /// Spaces per level; none puts everything on one line.
    pub indent: Option<usize>,
    pub item_separator: String,
    pub key_separator: String,
    pub ascii: bool,
    pub sort_keys: bool,
}

/// Python's `json.dumps`.
pub(super) fn json(value: &Value, layout: &Layout, level: usize, text: &mut String) {
    match value {
        Value::Text(content) => json_text(content, layout.ascii, text),
        Value::List(list) if !list.items.is_empty() => {
            text.push('[');
            for (i, item) in list.items.iter().enumerate() {
                text.push_str(if i > 0 { &layout.item_separator } else { "" });
                new_line(layout, level + 1, text);
                json(item, layout, level + 1, text);
            }
            new_line(layout, level, text);
            text.push(']');
        }
        Value::Map(map) if !map.entries.is_empty() => {
            text.push('{');
            for (i, (key, value)) in ordered(map, layout).into_iter().enumerate() {
                text.push_str(if i > 0 { &layout.item_separator } else { "" });
                new_line(layout, level + 1, text);
                let mut name = String::new();
                match key {
                    Value::Text(key) => name.push_str(key),
                    other => json(other, layout, 0, &mut name),
                }
                json_text(&name, layout.ascii, text);
                text.push_str(&layout.key_separator);
                json(value, layout, level + 1, text);
            }
            new_line(layout, level, text);
            text.push('}');
        }
        Value::List(_) => text.push_str("[]"),
        Value::Map(_) => text.push_str("{}"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Int(_) => repr(value, text),
        Value::Float(value) if value.is_finite() => text.push_str(&float(*value)),
        Value::Float(value) if value.is_nan() => text.push_str("NaN"),
        Value::Float(value) => text.push_str(if *value > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => text.push_str("null"),
    }
}

fn ordered<'m>(map: &'m Map, layout: &Layout) -> Vec<&'m (Value, Value)> {
    let mut entries: Vec<_> = map.entries.iter().collect();
    if layout.sort_keys {
        entries.sort_by(|a, b| a.0.as_text().cmp(&b.0.as_text()));
    }
    entries
}

fn new_line(layout: &Layout, level: usize, text: &mut String) {
    if let Some(indent) = layout.indent {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', indent * level));
    }
}

fn json_text(content: &str, ascii: bool, text: &mut String) {
    text.push('"');
    for c in content.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            c if c < ' ' || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            c => text.push(c),
        }
    }
    text.push('"');
}
