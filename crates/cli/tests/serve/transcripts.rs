//! The same requests to Chaski as were sent to llama-server (`fixtures/wire`), compared field by field.

use serde_json::Value;

use crate::client::Server;

const TRANSCRIPTS: &str = include_str!("../../../../fixtures/wire/transcripts.json");

/// Fields whose values cannot be alike: names, times, ids, places.
const OWN: &[&str] = &[
    "build_info",
    "chat_format",
    "chat_template",
    "created",
    "ftype",
    "generation_prompt",
    "id",
    "id_slot",
    "message",
    "model_ftype",
    "model_path",
    "owned_by",
    "param",
    "predicted_ms",
    "predicted_per_second",
    "predicted_per_token_ms",
    "prompt_ms",
    "prompt_per_second",
    "prompt_per_token_ms",
    "reasoning_format",
    "system_fingerprint",
];

/// Fields that only llama-server has, and why.
const MISSING: &[(&str, &str)] =
    &[("media_marker", "there is no media"), ("chat_template_caps", "tools cannot be called yet")];

/// Cases whose bodies differ on purpose, and why. Their status is compared all the same.
const DIFFERING: &[(&str, &str)] = &[
    ("progress", "llama-server begins with a chunk before the first step, with a token 0 in it"),
    ("text completion, two choices", "usage counts the tokens of both choices"),
    ("metrics", "the names are compared, values differ"),
];

#[test]
fn answers_have_llama_servers_fields_and_values() {
    let server = Server::tiny();
    let cases: Vec<Value> = serde_json::from_str(TRANSCRIPTS).unwrap();
    assert!(cases.len() > 50);
    let mut problems = Vec::new();
    for case in &cases {
        let text = |name: &str| case[name].as_str();
        let body = match &case["body"] {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let path = text("path").unwrap();
        let answer = server.ask(text("method").unwrap_or("POST"), path, &[], body.as_bytes());
        let name = text("name").unwrap();
        let mut complain = |problem: String| problems.push(format!("{name}: {problem}"));
        if u64::from(answer.status) != case["status"].as_u64().unwrap() {
            complain(format!("status {} instead of {}: {}", answer.status, case["status"], answer.text()));
            continue;
        }
        let content_type = answer.header("content-type").unwrap_or_default();
        if content_type != text("content_type").unwrap() {
            complain(format!("type {content_type}"));
        }
        if DIFFERING.iter().any(|(differing, _)| *differing == name) {
            continue;
        }
        let found = if content_type.starts_with("text/event-stream") { answer.frames().into() } else { answer.json() };
        // OpenAI's errors have a code that is a text, or none.
        let is_openai_error = path.contains("/v1/") && found.get("error").is_some();
        compare(&case["answer"], &found, "", is_openai_error, &mut complain);
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Every field that is expected must be there, with its value; more may be there.
fn compare(expected: &Value, found: &Value, at: &str, is_openai_error: bool, complain: &mut impl FnMut(String)) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, value) in expected {
                let at = format!("{at}.{name}");
                let is_own = OWN.contains(&name.as_str()) || (is_openai_error && name == "code");
                // Of a choice the message is compared, of an error it is not.
                let is_own =
                    is_own && !(name == "message" && value.is_object()) && !(name == "id" && value.is_number());
                match found.get(name) {
                    None if MISSING.iter().any(|(missing, _)| missing == name) => {}
                    None => complain(format!("{at} is missing")),
                    Some(_) if is_own => {}
                    Some(found) => compare(value, found, &at, is_openai_error, complain),
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(expected, found, &format!("{at}[{index}]"), is_openai_error, complain);
            }
        }
        (Value::Number(expected), Value::Number(found)) => {
            // Sums in another order differ in their last digits.
            let (expected, found) = (expected.as_f64().unwrap(), found.as_f64().unwrap());
            if (expected - found).abs() > 5e-3 * expected.abs().max(1.0) {
                complain(format!("{at}: {found} instead of {expected}"));
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => complain(format!("{at}: {found} instead of {expected}")),
    }
}

#[test]
fn metrics_have_llama_servers_names() {
    let server = Server::tiny();
    let cases: Vec<Value> = serde_json::from_str(TRANSCRIPTS).unwrap();
    let recorded = cases.iter().find(|case| case["name"] == "metrics").unwrap()["answer"].as_str().unwrap();
    let page = server.get("/metrics").text();
    let names = |page: &str| {
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let found = names(&page);
    for name in names(recorded) {
        assert!(found.contains(&name), "{name} is missing in\n{page}");
    }
}
