//! Chat templates against llama.cpp's renderings, which were taken once and are kept in `tests/template/`:
//! - `conversations.json`: what is rendered;
//! - `renderings.json`: the texts, for our built-in templates and for two models' own (Apache-2.0, beside it);
//! - `fingerprints.json`: hashes of the renderings of the templates that come with llama.cpp. They are compared when
//!   `CHASKI_TEMPLATES` names the directory `models/templates` of its source tree.

use std::path::Path;

use serde_json::Value;
use text::template::{BUILTIN_NAMES, ChatTemplate, Conversation, Now, TemplateError};

/// The renderings were taken on this day (2026-11-23, noon UTC).
const NOW: Now = Now { unix_seconds: 1_795_435_200, utc_offset_seconds: 0 };

/// Where we differ on purpose.
const DIFFERENT: [(&str, &str); 4] = [
    // llama.cpp fails on tools here (`spec.items` is a method to it); we take the field, as the author meant it.
    ("CohereForAI-c4ai-command-r-plus-tool_use.jinja", ""),
    // llama.cpp joins the parts of a content by newlines, because it does not see that the template reads parts.
    ("LFM2.5-8B-A1B.jinja", "parts"),
    // llama.cpp writes nothing for an object among a call's arguments; we write it as `transformers` does.
    ("openbmb-MiniCPM5-1B.jinja", "tool_call"),
    // llama.cpp loses the answer when there is reasoning beside it.
    ("unsloth-mistral-Devstral-Small-2507.jinja", "reasoning"),
];

fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/template").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn conversation(case: &Value) -> Conversation {
    Conversation {
        messages: serde_json::from_value(case["messages"].clone()).unwrap(),
        tools: case.get("tools").cloned(),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        extra: case.get("extra").and_then(Value::as_object).cloned().unwrap_or_default(),
        now: Some(NOW),
    }
}

/// FNV-1a, 64 bits, in hexadecimal.
fn fingerprint(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn our_own_and_two_real_templates_render_as_in_llama_cpp() {
    let cases = read("conversations.json");
    let renderings = read("renderings.json");
    for (name, texts) in renderings.as_object().unwrap() {
        let template = match BUILTIN_NAMES.contains(&name.as_str()) {
            true => ChatTemplate::builtin(name, "<BOS>", "<EOS>").unwrap(),
            false => {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/template").join(name);
                ChatTemplate::new(&std::fs::read_to_string(path).unwrap(), "<BOS>", "<EOS>").unwrap()
            }
        };
        for (case, expected) in texts.as_object().unwrap() {
            let text = template.render(&conversation(&cases[case])).unwrap();
            assert_eq!(text, expected.as_str().unwrap(), "{name}, {case}");
        }
    }
    for name in BUILTIN_NAMES {
        assert!(renderings.get(name).is_some(), "{name} has no rendering");
    }
}

#[test]
#[ignore = "needs llama.cpp's models/templates directory in CHASKI_TEMPLATES"]
fn the_templates_of_llama_cpp_render_as_there() {
    let directory =
        std::env::var_os("CHASKI_TEMPLATES").expect("needs llama.cpp's models/templates directory in CHASKI_TEMPLATES");
    let cases = read("conversations.json");
    let fingerprints = read("fingerprints.json");
    let (mut same, mut refused, mut different) = (0, 0, Vec::new());
    for (name, record) in fingerprints.as_object().unwrap() {
        let source = std::fs::read_to_string(Path::new(&directory).join(name)).unwrap();
        if fingerprint(&source) != record["source"].as_str().unwrap() {
            eprintln!("{name} is another version, passed over");
            continue;
        }
        let template = ChatTemplate::new(&source, "<BOS>", "<EOS>").unwrap();
        for (case, expected) in record["renderings"].as_object().unwrap() {
            let deliberate = DIFFERENT.iter().any(|(known, cases)| known == name && case.starts_with(cases));
            match (template.render(&conversation(&cases[case])), expected.as_str()) {
                (Ok(text), Some(expected)) if fingerprint(&text) == expected => same += 1,
                (Err(_), None) => refused += 1,
                _ if deliberate => {}
                (Ok(text), _) => different.push(format!("{name}, {case}: {text:?}")),
                (Err(error), _) => different.push(format!("{name}, {case}: {error}")),
            }
        }
    }
    eprintln!("{same} renderings are the same, {refused} are refused by both");
    assert!(different.is_empty() && same > 0, "{}", different.join("\n"));
}

#[test]
fn a_template_refuses_in_its_own_words() {
    let template = ChatTemplate::new("{{ raise_exception('Only users may speak') }}", "", "").unwrap();
    let error = template.render(&Conversation::default()).unwrap_err();
    assert!(matches!(&error, TemplateError::Refused(words) if words == "Only users may speak"), "{error}");
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let error = ChatTemplate::builtin("lama3", "", "").err().unwrap().to_string();
    assert!(error.starts_with("no built-in chat template is called `lama3` (known: chatml, "), "{error}");
}

#[test]
fn a_conversation_that_cannot_be_read_is_named() {
    let source =
        "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments|tojson }}{% endfor %}{% endfor %}";
    let template = ChatTemplate::new(source, "", "").unwrap();
    let mut messages: Vec<text::template::Message> = vec![text::template::Message::new("user", "Hi")];
    messages.push(
        serde_json::from_value(serde_json::json!({
            "role": "assistant",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{not json"}}]
        }))
        .unwrap(),
    );
    let error = template.render(&Conversation { messages, ..Conversation::default() }).unwrap_err().to_string();
    assert!(error.starts_with("message 1: the arguments of a tool call are not JSON"), "{error}");
}

#[test]
fn without_a_clock_a_template_sees_none() {
    let source =
        "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}timeless{% endif %} {{ date_string }}";
    let template = ChatTemplate::new(source, "", "").unwrap();
    assert_eq!(template.render(&Conversation::default()).unwrap(), "timeless ");
    let now = Conversation { now: Some(NOW), ..Conversation::default() };
    assert_eq!(template.render(&now).unwrap(), "2026 23 Nov 2026");
}
