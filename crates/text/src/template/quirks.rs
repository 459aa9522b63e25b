//! Families of templates that want a conversation in a form of their own. Each is known by words in its source, one row
//! each; what is done to the messages (and to the finished prompt) is what llama.cpp does for that family.

use serde_json::{Map, Value, json};

/// One family.
struct Quirk {
    /// All of these words are in the source …
    with: &'static [&'static str],
    /// … and none of these.
    without: &'static [&'static str],
    messages: fn(&mut Vec<Value>),
    /// Told whether the prompt is to end with the opening of an answer.
    prompt: fn(&mut String, bool),
}

const PLAIN: Quirk = Quirk { with: &[], without: &[], messages: |_| {}, prompt: |_, _| {} };

const QUIRKS: [Quirk; 6] = [
    // gpt-oss: reasoning goes to the analysis channel; an answer in the history ends a message, not the conversation.
    Quirk { with: &["<|channel|>"], messages: |messages| channels(messages), prompt: end_instead_of_return, ..PLAIN },
    // LFM2 and LFM2.5
    Quirk { with: &["List of tools: ["], messages: |messages| thinking_field(messages), ..PLAIN },
    // Ministral 3
    Quirk {
        with: &["[SYSTEM_PROMPT]", "[TOOL_CALLS]", "[ARGS]", "[THINK]"],
        without: &["[CALL_ID]"],
        messages: |messages| think_parts(messages),
        ..PLAIN
    },
    // Step 3.5: blanks around a text send the model into loops.
    Quirk {
        with: &["You have access to the following functions in JSONSchema format"],
        messages: |messages| trim_texts(messages),
        ..PLAIN
    },
    // Gemma 4, before and after its template learnt to read tool messages
    Quirk {
        with: &["'<|tool_call>call:'"],
        without: &["{#- OpenAI Chat Completions:"],
        messages: responses_in_turn,
        prompt: model_turn,
    },
    Quirk { with: &["'<|tool_call>call:'", "{#- OpenAI Chat Completions:"], prompt: model_turn, ..PLAIN },
];

/// Rewrites the messages for this template.
pub(super) fn messages(source: &str, messages: &mut Vec<Value>) {
    of(source).for_each(|quirk| (quirk.messages)(messages));
}

/// Finishes the prompt for this template.
pub(super) fn prompt(source: &str, text: &mut String, opened: bool) {
    of(source).for_each(|quirk| (quirk.prompt)(text, opened));
}

fn of(source: &str) -> impl Iterator<Item = &'static Quirk> {
    let has = |word: &&str| source.contains(*word);
    QUIRKS.iter().filter(move |quirk| quirk.with.iter().all(has) && !quirk.without.iter().any(has))
}

/// The reasoning under the name `thinking`.
fn thinking_field(messages: &mut [Value]) {
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        if let Some(reasoning) = message.get("reasoning_content").filter(|reasoning| reasoning.is_string()).cloned() {
            message.insert("thinking".into(), reasoning);
        }
    }
}

fn channels(messages: &mut [Value]) {
    thinking_field(messages);
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        if message.contains_key("thinking") && has_calls(message) {
            message.remove("content");
        }
    }
}

fn end_instead_of_return(text: &mut String, opened: bool) {
    const RETURN: &str = "<|return|>";
    if let Some(at) = text.rfind(RETURN).filter(|_| !opened) {
        text.replace_range(at..at + RETURN.len(), "<|end|>");
    }
}

/// The texts of system and assistant as parts, the reasoning as the first of them.
fn think_parts(messages: &mut [Value]) {
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        if !matches!(message.get("role").and_then(Value::as_str), Some("system" | "assistant")) {
            continue;
        }
        let mut parts = Vec::new();
        if let Some(Value::String(reasoning)) = message.remove("reasoning_content") {
            parts.push(json!({"type": "thinking", "thinking": reasoning}));
        }
        match message.remove("content") {
            Some(Value::String(text)) => parts.push(json!({"type": "text", "text": text})),
            Some(Value::Array(more)) => parts.extend(more),
            _ => {}
        }
        message.insert("content".into(), parts.into());
    }
}

fn trim_texts(messages: &mut [Value]) {
    fn trim(value: Option<&mut Value>) {
        if let Some(Value::String(text)) = value {
            *text = text.trim().into();
        }
    }
    for message in messages {
        trim(message.get_mut("reasoning_content"));
        match message.get_mut("content") {
            Some(Value::Array(parts)) => parts.iter_mut().for_each(|part| trim(part.get_mut("text"))),
            content => trim(content),
        }
    }
}

/// Calls, their results and the answer that follows become one message.
fn responses_in_turn(messages: &mut Vec<Value>) {
    let mut rest = std::mem::take(messages).into_iter().peekable();
    while let Some(mut message) = rest.next() {
        if let Some(turn) = message.as_object_mut().filter(|turn| has_calls(turn)) {
            let mut responses = Vec::new();
            while let Some(result) = rest.next_if(|next| next["role"] == "tool") {
                responses.push(response(turn, &result, responses.len()));
            }
            turn.remove("content");
            if !responses.is_empty() {
                turn.insert("tool_responses".into(), responses.into());
            }
            let is_answer = |next: &Value| {
                let content = &next["content"];
                let written = content.as_str().is_some_and(|text| !text.is_empty())
                    || content.as_array().is_some_and(|p| !p.is_empty());
                next["role"] == "assistant" && written && !next.as_object().is_some_and(has_calls)
            };
            if let Some(answer) = rest.next_if(is_answer) {
                turn.insert("content".into(), answer["content"].clone());
            }
        }
        messages.push(message);
    }
}

/// A tool's result under the name of the call it answers: as data if it is JSON, else as text.
fn response(turn: &Map<String, Value>, result: &Value, index: usize) -> Value {
    let content = &result["content"];
    let data = content.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| content.clone());
    let name = turn["tool_calls"][index]["function"]["name"].as_str().or(result["tool_call_id"].as_str());
    json!({"name": name.unwrap_or_default(), "response": data})
}

fn model_turn(text: &mut String, opened: bool) {
    if opened && text.ends_with("<turn|>\n") {
        text.push_str("<|turn>model\n");
    }
}

fn has_calls(message: &Map<String, Value>) -> bool {
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}
