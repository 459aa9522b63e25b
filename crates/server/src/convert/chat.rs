//! Messages through the chat template to a prompt, for every API that has messages.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use text::Encode;
use text::template::{Conversation, Message, Now, TemplateError};

use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::fields::{Fields, kind, wrong};

/// A rendered conversation.
pub struct ChatPrompt {
    /// The text that the model is to go on from.
    pub text: String,
    /// What the answer begins with already: the last message, where it is gone on with.
    pub prefill: String,
}

/// Fields of tool use, which is not offered; an empty list asks for nothing.
const TOOLS: &[&str] = &["tools", "functions"];

/// Reads the messages of a request and renders them.
pub fn render(app: &App, fields: Fields<'_>) -> Result<ChatPrompt, ApiError> {
    for name in TOOLS {
        if fields.list(name)?.is_some_and(|list| !list.is_empty()) {
            return Err(ApiError::unsupported_field(name, "tools cannot be called yet; leave it out"));
        }
    }
    let mut messages = messages(fields)?;
    let opens = fields.switch("add_generation_prompt")?;
    let continues = match fields.value("continue_final_message") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(Value::String(part)) if part == "content" => true,
        Some(other) => return Err(wrong("continue_final_message", "true, false or \"content\"", other)),
    };
    let ends_in_answer = messages.last().is_some_and(|last| last.role == "assistant");
    let continues = continues || (app.config.defaults.prefill_assistant && ends_in_answer && opens != Some(false));
    let mut prefill = String::new();
    if continues {
        if fields.value("continue_final_message").is_some() && opens == Some(true) {
            let problem = "add_generation_prompt and continue_final_message exclude each other";
            return Err(ApiError::field("continue_final_message", problem));
        }
        if let Some(last) = messages.pop_if(|_| ends_in_answer) {
            if messages.last().is_some_and(|message| message.role == "assistant") {
                return Err(ApiError::field("messages", "two messages of the assistant at the end of the list"));
            }
            prefill = plain_text(&last.content).ok_or_else(|| {
                ApiError::field("messages", "the last message is to be gone on with, but its content is no text")
            })?;
        }
    }
    let conversation = Conversation {
        messages,
        tools: None,
        add_generation_prompt: continues || opens.unwrap_or(true),
        extra: variables(app, fields)?,
        now: Some(now()),
    };
    let mut text = app.model.template.render(&conversation).map_err(refusal)?;
    text.push_str(&prefill);
    Ok(ChatPrompt { text, prefill })
}

/// The tokens of a rendered conversation; it may begin with BOS already.
pub fn tokens(app: &App, text: &str) -> Vec<u32> {
    let tokenizer = &app.model.tokenizer;
    let bos = app.model.marker(tokenizer.vocab().special().bos);
    let add_special = bos.is_empty() || !text.starts_with(&bos);
    tokenizer.encode(text, Encode { add_special, parse_special: true })
}

fn messages(fields: Fields<'_>) -> Result<Vec<Message>, ApiError> {
    const NAME: &str = "messages";
    let Some(list) = fields.list(NAME)? else { return Err(ApiError::field(NAME, "is required")) };
    list.iter().enumerate().map(|(index, value)| message(&format!("{NAME}[{index}]"), value)).collect()
}

fn message(name: &str, value: &Value) -> Result<Message, ApiError> {
    let Value::Object(map) = value else { return Err(wrong(name, "an object", value)) };
    let role = match map.get("role") {
        Some(Value::String(role)) => role.clone(),
        None => return Err(ApiError::field(&format!("{name}.role"), "is required")),
        Some(other) => return Err(wrong(&format!("{name}.role"), "a string", other)),
    };
    let content = match map.get("content") {
        Some(text @ Value::String(_)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts
                .iter()
                .enumerate()
                .try_for_each(|(index, part)| check_part(&format!("{name}.content[{index}]"), part))?;
            Value::Array(parts.clone())
        }
        None | Some(Value::Null) if role == "assistant" => Value::Null,
        Some(Value::Null) => Value::Null,
        None => return Err(ApiError::field(&format!("{name}.content"), "is required")),
        Some(other) => return Err(wrong(&format!("{name}.content"), "a string or an array of parts", other)),
    };
    let extra: Map<String, Value> = map
        .iter()
        .filter(|(key, _)| !["role", "content"].contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    Ok(Message { role, content, extra })
}

/// Parts may be text; there is no model here that sees or hears.
fn check_part(name: &str, part: &Value) -> Result<(), ApiError> {
    match (part.get("type").and_then(Value::as_str), part.get("text")) {
        (Some("text"), Some(Value::String(_))) => Ok(()),
        (Some("text"), _) => Err(ApiError::field(&format!("{name}.text"), "expected a string")),
        (Some(other), _) => Err(ApiError::field(
            &format!("{name}.type"),
            format!("`{other}` is not supported: this model reads text only"),
        )),
        (None, _) => Err(ApiError::field(&format!("{name}.type"), format!("is required, in {}", kind(part)))),
    }
}

/// The text of a content, if it is nothing else.
fn plain_text(content: &Value) -> Option<String> {
    match content {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part.get("text")?.as_str()).collect(),
        _ => None,
    }
}

/// Variables of the template: the server's, then the request's over them.
fn variables(app: &App, fields: Fields<'_>) -> Result<Map<String, Value>, ApiError> {
    let mut variables = app.config.defaults.template_kwargs.clone();
    if let Some(given) = fields.map("chat_template_kwargs")? {
        variables.extend(given.clone());
    }
    match fields.text("reasoning_effort")? {
        None | Some("") => {}
        Some("none") => {
            variables.insert("enable_thinking".into(), false.into());
            variables.remove("reasoning_effort");
        }
        Some(effort) => {
            variables.insert("reasoning_effort".into(), effort.into());
        }
    }
    if variables.get("enable_thinking").is_some_and(|value| !value.is_boolean()) {
        return Err(ApiError::field("chat_template_kwargs.enable_thinking", "expected true or false"));
    }
    Ok(variables)
}

/// A conversation that the template refuses is the client's mistake.
fn refusal(problem: TemplateError) -> ApiError {
    ApiError { param: Some("messages".into()), ..ApiError::new(Kind::Invalid, problem.to_string()) }
}

/// The time, for templates that tell it; in UTC.
fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Now { unix_seconds: since.map_or(0, |since| since.as_secs() as i64), utc_offset_seconds: 0 }
}
