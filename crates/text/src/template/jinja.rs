//! The Jinja engine behind the chat templates.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{Environment, Error, ErrorKind, State};
use serde_json::{Map, Value};

use super::{Now, TemplateError};

/// A compiled template.
pub(super) struct Program {
    source: String,
    environment: Environment<'static>,
}

const NAME: &str = "chat";
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// One unit pays for one instruction or for 64 bytes of data.
const FUEL: u64 = 4_000_000;
const MAX_DEPTH: usize = 100;

impl Program {
    pub(super) fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::Limit(format!("the source has {} bytes", source.len())));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| TemplateError::Limit(error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<JinjaValue, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
        });
        environment.add_filter("tojson", to_json);
        let plain =
            source.replace("{%- generation -%}", "{%- if true -%}").replace("{%- endgeneration -%}", "{%- endif -%}");
        environment.add_template_owned(NAME, plain).map_err(failed)?;
        Ok(Self { source: source.into(), environment })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn render(&self, variables: Map<String, Value>, now: Option<Now>) -> Result<String, TemplateError> {
        let mut context: Vec<(String, JinjaValue)> = variables
            .into_iter()
            .map(|(name, value)| (name, JinjaValue::from(minijinja::value::Serde(value))))
            .collect();
        if let Some(now) = now {
            let tell = move |format: String| now.format(&format);
            context.push(("strftime_now".into(), JinjaValue::from_function(tell)));
        }
        let template = self.environment.get_template(NAME).map_err(failed)?;
        template.render(JinjaValue::from_pairs(context)).map_err(failed)
    }
}

const RAISED: &str = "\u{1}";

fn failed(error: Error) -> TemplateError {
    let line = error.line().unwrap_or(0);
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    match error.kind() {
        ErrorKind::SyntaxError => TemplateError::Syntax { line, message },
        ErrorKind::OutOfFuel => TemplateError::Limit("too many steps or too much text".into()),
        _ => match message.strip_prefix(RAISED) {
            Some(reason) => TemplateError::Refused(reason.into()),
            None => TemplateError::Render { line, message },
        },
    }
}

/// Python's `json.dumps` as chat templates use it.
fn to_json(state: &State, value: JinjaValue, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let data =
        serde_json::to_value(&value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut text = String::new();
    write_json(&data, indent, 0, &mut text);
    state.consume_fuel(text.len() as u64 / 4)?;
    Ok(text)
}

fn write_json(value: &Value, indent: Option<usize>, level: usize, text: &mut String) {
    let line = |text: &mut String, level: usize| {
        if let Some(indent) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * level));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    match value {
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i > 0 { separator } else { "" });
                line(text, level + 1);
                write_json(item, indent, level + 1, text);
            }
            line(text, level);
            text.push(']');
        }
        Value::Object(fields) if !fields.is_empty() => {
            text.push('{');
            for (i, (key, item)) in fields.iter().enumerate() {
                text.push_str(if i > 0 { separator } else { "" });
                line(text, level + 1);
                text.push_str(&Value::String(key.clone()).to_string());
                text.push_str(": ");
                write_json(item, indent, level + 1, text);
            }
            line(text, level);
            text.push('}');
        }
        plain => text.push_str(&plain.to_string()),
    }
}
