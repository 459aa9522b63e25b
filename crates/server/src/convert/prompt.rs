//! Prompts as they stand on the wire: a text, a list of tokens, a mixture, or several of these.

use serde_json::Value;
use text::Encode;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::{whole, wrong};

/// What a prompt may be, for messages.
const FORMS: &str = "a string, a list of tokens, a list of mixed strings and tokens, an object with a prompt_string, \
                     or a list of these";

/// The prompts of a request, at least one; the first text of each gets BOS where the model wants it.
pub fn all(app: &App, name: &str, value: &Value) -> Result<Vec<Vec<u32>>, ApiError> {
    let several = match value {
        Value::Array(list) if !list.iter().any(Value::is_number) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    if several.is_empty() {
        return Err(ApiError::field(name, "must not be empty"));
    }
    let most = app.config.limits.answers;
    if several.len() > most {
        return Err(ApiError::field(name, format!("{} prompts, at most {most} are accepted", several.len())));
    }
    several.iter().map(|prompt| one(app, name, prompt)).collect()
}

fn one(app: &App, name: &str, value: &Value) -> Result<Vec<u32>, ApiError> {
    match value {
        Value::String(_) | Value::Array(_) => mixed(app, name, value, Encode::PROMPT),
        Value::Object(map) if map.contains_key("multimodal_data") => {
            Err(ApiError::unsupported_field("multimodal_data", "this model reads text only"))
        }
        Value::Object(map) => match map.get("prompt_string") {
            Some(prompt @ (Value::String(_) | Value::Array(_))) => mixed(app, name, prompt, Encode::PROMPT),
            _ => Err(wrong(name, FORMS, value)),
        },
        other => Err(wrong(name, FORMS, other)),
    }
}

/// A text, or a list of texts and tokens. Only a text at the beginning gets what `how` adds.
pub fn mixed(app: &App, name: &str, value: &Value, how: Encode) -> Result<Vec<u32>, ApiError> {
    let tokenizer = &app.model.tokenizer;
    let parts = match value {
        Value::String(text) => return Ok(tokenizer.encode(text, how)),
        Value::Array(parts) => parts,
        other => return Err(wrong(name, "a string or a list of strings and tokens", other)),
    };
    let mut tokens = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        match part {
            Value::String(text) => {
                tokens.extend(tokenizer.encode(text, Encode { add_special: how.add_special && index == 0, ..how }));
            }
            _ => tokens.push(token(app, name, part)?),
        }
    }
    Ok(tokens)
}

/// A token of the vocabulary.
pub fn token(app: &App, name: &str, value: &Value) -> Result<u32, ApiError> {
    let last = app.model.tokenizer.vocab().len() as i64 - 1;
    whole(name, value, 0, last).map(|token| token as u32)
}
