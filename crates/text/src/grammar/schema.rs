//! JSON schemas as they are given, with what llama.cpp takes for granted.

use serde_json::{Map, Value, json};

use super::Problem;

/// Where the writer's own settings stand in a schema.
const SETTINGS: &str = "x-guidance";
/// What may stand between two parts of JSON, as in llama.cpp: no model is to fill its answer with blanks.
const WHITESPACE: &str = r"[\x20]|\n{1,2}[ \t]{0,20}";

/// The schema with bounds on whitespace. An empty one stands for any object.
pub(super) fn adapted(schema: &Value) -> Result<Value, Problem> {
    let mut members = match schema {
        Value::Object(members) if members.is_empty() => Map::from_iter([("type".into(), json!("object"))]),
        Value::Object(members) => members.clone(),
        Value::Bool(true) => Map::new(),
        other => return Err(Problem::new(format!("a JSON schema is an object, this is {other}"))),
    };
    members.entry(SETTINGS).or_insert_with(|| json!({"whitespace_pattern": WHITESPACE}));
    Ok(Value::Object(members))
}
