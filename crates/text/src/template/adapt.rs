//! Fits a conversation in OpenAI's form to what a template can read, as llama.cpp does: some templates know no system
//! message, want a call's arguments as an object, or read content only as a list of parts. What a template can do is found
//! out once by rendering small conversations with telltale words in them.

use serde_json::{Map, Value, json};

use super::jinja::{PROBE_BUDGET, Program};
use super::{Message, Now, TemplateError, quirks};

/// What a template can read.
pub(super) struct Abilities {
    system_role: bool,
    string_content: bool,
    part_content: bool,
    object_arguments: bool,
}

const WORD: &str = "TELLTALE";

impl Abilities {
    /// Renders a few conversations and looks for the telltale word.
    pub(super) fn probe(program: &Program) -> Self {
        let render = |messages: Value| {
            let mut variables = Map::new();
            variables.insert("messages".into(), messages);
            variables.insert("bos_token".into(), "".into());
            variables.insert("eos_token".into(), "".into());
            variables.insert("add_generation_prompt".into(), true.into());
            program.render(variables, Some(Now { unix_seconds: 0, utc_offset_seconds: 0 }), PROBE_BUDGET).ok()
        };
        let shows = |messages, word: &str| render(messages).is_some_and(|text| text.contains(word));
        let call = |arguments: Value| {
            json!([
                {"role": "user", "content": "User"},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "call00001", "type": "function", "function": {"name": "tool1", "arguments": arguments}}
                ]},
                {"role": "tool", "content": "Response", "tool_call_id": "call00001", "name": "tool1"},
            ])
        };
        let user = |content: Value| json!([{"role": "user", "content": content}]);
        let parts = render(user(json!([{"type": "text", "text": WORD}]))).unwrap_or_default();
        let system = json!([{"role": "system", "content": WORD}, {"role": "user", "content": "User"}]);
        let called = render(call(json!({"arg": WORD}))).unwrap_or_default();
        Self {
            system_role: shows(system, WORD),
            string_content: shows(user(WORD.into()), WORD),
            // A list that shows with its brackets was not read as parts but written out, and one that may not be empty is
            // meant for more than text.
            part_content: parts.contains(WORD)
                && !["'type'", "\"type\""].iter().any(|key| parts.contains(key))
                && render(user(json!([]))).is_some(),
            // An object that shows in Python's notation was written out too: then the template wants a string.
            object_arguments: called.contains(WORD) && !called.contains("{'arg'"),
        }
    }
}

/// The messages in the form that this template reads.
pub(super) fn messages(source: &str, abilities: &Abilities, messages: &[Message]) -> Result<Vec<Value>, TemplateError> {
    // Templates with channels tell developer and system messages apart.
    let developer_is_system = !source.contains("<|channel|>");
    let mut adapted = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let mut object = Map::with_capacity(message.extra.len() + 2);
        let role = if developer_is_system && message.role == "developer" { "system" } else { &message.role };
        object.insert("role".into(), role.into());
        object.insert("content".into(), content(abilities, &message.content));
        for (key, value) in &message.extra {
            object.insert(key.clone(), value.clone());
        }
        if abilities.object_arguments {
            parse_arguments(&mut object).map_err(|message| TemplateError::Message { index, message })?;
        }
        adapted.push(Value::Object(object));
    }
    if !abilities.system_role {
        merge_system(&mut adapted);
    }
    quirks::messages(source, &mut adapted);
    Ok(adapted)
}

/// Switches that templates know under several names.
pub(super) fn reasoning_switches(extra: &Map<String, Value>, variables: &mut Map<String, Value>) {
    if let Some(keep) = extra.get("preserve_reasoning").and_then(Value::as_bool) {
        variables.insert("preserve_thinking".into(), keep.into());
        for name in ["clear_thinking", "truncate_history_thinking", "drop_thinking"] {
            variables.insert(name.into(), (!keep).into());
        }
    }
    if let Some(effort) = extra.get("reasoning_effort").and_then(Value::as_str) {
        variables.insert("reasoning_strength".into(), effort.into());
    }
}

fn content(abilities: &Abilities, content: &Value) -> Value {
    match content {
        Value::Null => "".into(),
        Value::String(text) if abilities.part_content && !abilities.string_content => {
            json!([{"type": "text", "text": text}])
        }
        Value::Array(parts) if abilities.string_content && !abilities.part_content => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            texts.join("\n").into()
        }
        other => other.clone(),
    }
}

/// Calls carry their arguments as JSON text on the wire.
fn parse_arguments(message: &mut Map<String, Value>) -> Result<(), String> {
    let Some(Value::Array(calls)) = message.get_mut("tool_calls") else { return Ok(()) };
    for call in calls {
        let Some(arguments) = call.get_mut("function").and_then(|function| function.get_mut("arguments")) else {
            continue;
        };
        if let Value::String(text) = arguments {
            *arguments = serde_json::from_str(text)
                .map_err(|error| format!("the arguments of a tool call are not JSON: {error}"))?;
        }
    }
    Ok(())
}

/// A template without system messages gets the system text in front of the first message.
fn merge_system(messages: &mut Vec<Value>) {
    if messages.first().is_none_or(|first| first["role"] != "system") {
        return;
    }
    let system = messages.remove(0);
    if let (Some(system), Some(next)) = (system["content"].as_str(), messages.first_mut())
        && let Some(text) = next["content"].as_str()
    {
        next["content"] = format!("{system}\n{text}").into();
    }
}
