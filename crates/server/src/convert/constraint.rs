//! Fields that constrain what may be generated: grammars, JSON schemas, regular expressions.
//!
//! Read here, in one place, whichever API they came through; compiled by `request`.

use serde_json::{Value, json};
use text::grammar::Constraint;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// What the answer must look like, and who said so.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// The field, or the flag.
    pub name: &'static str,
    /// What it asks for.
    pub constraint: Constraint,
}

/// Reads `grammar`, `json_schema`, `regex` and `response_format`; the server's own where there is none of them.
pub fn read(app: &App, fields: Fields<'_>) -> Result<Option<Asked>, ApiError> {
    let grammar = fields.text("grammar")?.filter(|grammar| !grammar.is_empty());
    let schema = fields.value("json_schema").map(|schema| checked("json_schema", schema)).transpose()?;
    let regex = fields.text("regex")?.filter(|regex| !regex.is_empty());
    let given = [
        grammar.map(|grammar| Asked { name: "grammar", constraint: Constraint::Grammar(grammar.to_owned()) }),
        schema.map(|schema| Asked { name: "json_schema", constraint: Constraint::Schema(schema.clone()) }),
        regex.map(|regex| Asked { name: "regex", constraint: Constraint::Regex(regex.to_owned()) }),
        format(fields)?,
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(first), Some(second)) => {
            Err(ApiError::field(first.name, format!("{} is given too; give one of them", second.name)))
        }
        (Some(asked), None) => Ok(Some(asked)),
        (None, _) => Ok(app.config.defaults.constraint.clone()),
    }
}

/// OpenAI's field.
fn format(fields: Fields<'_>) -> Result<Option<Asked>, ApiError> {
    const FORMAT: &str = "response_format";
    let Some(format) = fields.map(FORMAT)?.map(Fields::new) else { return Ok(None) };
    let schema = match format.text("type")? {
        None | Some("text") => return Ok(None),
        Some("json_object") => match format.value("schema") {
            Some(schema) => checked("response_format.schema", schema)?.clone(),
            None => json!({"type": "object"}),
        },
        Some("json_schema") => {
            match format.map("json_schema")?.map(Fields::new).and_then(|inner| inner.value("schema")) {
                Some(schema) => checked("response_format.json_schema.schema", schema)?.clone(),
                None => return Err(ApiError::field("response_format.json_schema", "needs an object with a `schema`")),
            }
        }
        Some(other) => {
            let problem = format!("expected text, json_object or json_schema, got `{other}`");
            return Err(ApiError::field("response_format.type", problem));
        }
    };
    Ok(Some(Asked { name: FORMAT, constraint: Constraint::Schema(schema) }))
}

/// A schema is an object, or `true`, or `false`.
fn checked<'a>(name: &str, schema: &'a Value) -> Result<&'a Value, ApiError> {
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(schema),
        other => Err(wrong(name, "a JSON schema (an object)", other)),
    }
}
