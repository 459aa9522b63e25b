//! Fields that constrain what may be generated: grammars, JSON schemas, regular expressions.
//!
//! Read and bounded here, in one place, whichever API they came through. Output cannot be constrained yet, so
//! each of them is refused by name; whoever builds it turns [`Constraint`] into a mask for the sampler.

use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// What the answer must look like.
#[derive(Clone, PartialEq, Debug)]
pub enum Constraint {
    /// A grammar in GBNF.
    Gbnf(String),
    /// A JSON schema.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
}

/// Reads `grammar`, `json_schema` and `response_format`; refuses what cannot be honoured.
pub fn read(app: &App, fields: Fields<'_>) -> Result<(), ApiError> {
    match find(fields)? {
        None => Ok(()),
        Some((name, constraint)) => {
            let bytes = match &constraint {
                Constraint::Gbnf(grammar) => grammar.len(),
                Constraint::JsonSchema(schema) => schema.to_string().len(),
                Constraint::JsonObject => 0,
            };
            let most = app.config.limits.constraint_bytes;
            if bytes > most {
                return Err(ApiError::field(name, format!("{bytes} bytes, at most {most} are accepted")));
            }
            Err(ApiError::unsupported_field(
                name,
                "output cannot be constrained yet; ask for the form in the prompt and check the answer",
            ))
        }
    }
}

/// The constraint of the request and the field that asks for it.
fn find(fields: Fields<'_>) -> Result<Option<(&'static str, Constraint)>, ApiError> {
    let grammar = fields.text("grammar")?.filter(|grammar| !grammar.is_empty());
    let schema = fields.value("json_schema");
    if let (Some(_), Some(_)) = (grammar, schema) {
        return Err(ApiError::field("grammar", "json_schema is given too; give one of them"));
    }
    if let Some(grammar) = grammar {
        return Ok(Some(("grammar", Constraint::Gbnf(grammar.to_owned()))));
    }
    if let Some(schema) = schema {
        return Ok(Some(("json_schema", Constraint::JsonSchema(checked("json_schema", schema)?.clone()))));
    }
    const FORMAT: &str = "response_format";
    let Some(format) = fields.map(FORMAT)?.map(Fields::new) else { return Ok(None) };
    let constraint = match format.text("type")? {
        None | Some("text") => return Ok(None),
        Some("json_object") => match format.value("schema") {
            Some(schema) => Constraint::JsonSchema(checked("response_format.schema", schema)?.clone()),
            None => Constraint::JsonObject,
        },
        Some("json_schema") => {
            match format.map("json_schema")?.map(Fields::new).and_then(|inner| inner.value("schema")) {
                Some(schema) => Constraint::JsonSchema(checked("response_format.json_schema.schema", schema)?.clone()),
                None => return Err(ApiError::field("response_format.json_schema", "needs an object with a `schema`")),
            }
        }
        Some(other) => {
            let problem = format!("expected text, json_object or json_schema, got `{other}`");
            return Err(ApiError::field("response_format.type", problem));
        }
    };
    Ok(Some((FORMAT, constraint)))
}

/// A schema is an object, or `true`, or `false`.
fn checked<'a>(name: &str, schema: &'a Value) -> Result<&'a Value, ApiError> {
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(schema),
        other => Err(wrong(name, "a JSON schema (an object)", other)),
    }
}
