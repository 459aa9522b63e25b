//! Sampling parameters: every parameter that a sampler stage declares is a field of this name.

use engine::sampler::{Kind, PARAMS, ParamSpec, ParamValue, Params};
use serde_json::Value;
use text::Encode;

use super::options::texts;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, whole, wrong};

/// The server's defaults with the request's fields over them.
pub fn read(app: &App, fields: Fields<'_>) -> Result<Params, ApiError> {
    let mut params = app.config.defaults.sampling.clone();
    for spec in PARAMS {
        let Some(value) = fields.value(spec.field) else { continue };
        let value = match spec.kind {
            Kind::Biases => ParamValue::Biases(biases(app, spec.field, value)?),
            Kind::Stages { .. } if value.is_string() => {
                let letters = bounded_text(app, spec.field, value)?;
                set(&mut params, "sampler_seq", spec.field, &ParamValue::Text(letters))?;
                continue;
            }
            _ => plain(app, spec, value)?,
        };
        set(&mut params, spec.field, spec.field, &value)?;
    }
    Ok(params)
}

/// Stores a value; what is wrong with it is told of the field `name`.
fn set(params: &mut Params, field: &str, name: &str, value: &ParamValue) -> Result<(), ApiError> {
    params.set(field, value).map_err(|problem| ApiError {
        param: Some(name.to_owned()),
        ..ApiError::new(crate::error::Kind::Invalid, problem.to_string())
    })
}

/// A value of one of the simple kinds.
fn plain(app: &App, spec: &ParamSpec, value: &Value) -> Result<ParamValue, ApiError> {
    Ok(match (spec.kind, value) {
        (Kind::Int { min, max, .. }, Value::Number(_)) => ParamValue::Int(whole(spec.field, value, min, max)?),
        (Kind::Float { .. }, Value::Number(number)) => match number.as_f64() {
            Some(number) => ParamValue::Float(number),
            None => return Err(wrong(spec.field, "a finite number", value)),
        },
        (Kind::Switch, Value::Bool(on)) => ParamValue::Bool(*on),
        (Kind::Stages { .. } | Kind::Texts { .. }, Value::Array(list)) => {
            let most = app.config.limits.list;
            if list.len() > most {
                return Err(ApiError::field(spec.field, format!("at most {most} entries, got {}", list.len())));
            }
            ParamValue::Texts(texts(spec.field, list)?)
        }
        (Kind::StageLetters, Value::String(_)) => ParamValue::Text(bounded_text(app, spec.field, value)?),
        (_, other) => return Err(wrong(spec.field, spec.range(), other)),
    })
}

/// One letter per sampler.
fn bounded_text(app: &App, name: &str, value: &Value) -> Result<String, ApiError> {
    match value.as_str() {
        Some(text) if text.len() <= app.config.limits.list => Ok(text.to_owned()),
        _ => Err(ApiError::field(name, format!("expected at most {} letters", app.config.limits.list))),
    }
}

/// `[[token or text, bias], …]` or `{"token or text": bias, …}`; `false` excludes.
fn biases(app: &App, name: &str, value: &Value) -> Result<Vec<(u32, f32)>, ApiError> {
    let mut found = Vec::new();
    let most = app.model.vocab_size;
    let mut add = |key: &Value, bias: &Value| -> Result<(), ApiError> {
        let bias = match (bias, bias.as_f64()) {
            (Value::Bool(false), _) => f32::NEG_INFINITY,
            (_, Some(bias)) if (bias as f32).is_finite() => bias as f32,
            _ => return Err(wrong(name, "finite numbers, or false to exclude, as biases", bias)),
        };
        match key {
            Value::String(text) => {
                let tokens = match text.parse::<u32>() {
                    Ok(token) => vec![token],
                    Err(_) => app.model.tokenizer.encode(text, Encode::TEXT),
                };
                found.extend(tokens.into_iter().map(|token| (token, bias)));
            }
            _ => found.push((whole(name, key, 0, i64::from(u32::MAX))? as u32, bias)),
        }
        match found.iter().find(|(token, _)| *token as usize >= most) {
            Some((token, _)) => {
                Err(ApiError::field(name, format!("token {token} is outside the vocabulary of {most} tokens")))
            }
            None if found.len() > most => Err(ApiError::field(name, format!("more than {most} biases"))),
            None => Ok(()),
        }
    };
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, bias)| add(&Value::from(key.as_str()), bias))?,
        Value::Array(list) => {
            for entry in list {
                match entry.as_array().map(Vec::as_slice) {
                    Some([key, bias]) => add(key, bias)?,
                    _ => return Err(wrong(name, "[token, bias] pairs", entry)),
                }
            }
        }
        other => return Err(wrong(name, "an object or an array of pairs", other)),
    }
    Ok(found)
}
