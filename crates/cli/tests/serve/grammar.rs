//! Answers that must look like something: by every field, by flags, and what is said of constraints that cannot be.

use serde_json::{Value, json};

use crate::client::Server;
use crate::support::{complaint_of, fixture, scratch, stdout_of};

const CHAT: &str = "/v1/chat/completions";

/// Random weights say anything, so whatever looks right is the constraint's doing.
fn ask(server: &Server, path: &str, more: Value) -> Value {
    let mut body = json!({"prompt": "the rain", "messages": [{"role": "user", "content": "the rain"}], "max_tokens": 200, "seed": 7, "temperature": 1});
    for (name, value) in more.as_object().unwrap() {
        body[name.as_str()] = value.clone();
    }
    let answer = server.post(path, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn answers_keep_to_what_any_field_asks() {
    let server = Server::tiny();
    let yes_no = json!({"grammar": "root ::= \"yes, \" [0-9]{3} | \"no\""});
    let is_yes_no = |text: &str| {
        let digits = text.strip_prefix("yes, ").unwrap_or_default();
        text == "no" || (digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let told = ask(&server, "/completion", yes_no.clone());
    assert!(is_yes_no(told["content"].as_str().unwrap()), "{told}");
    assert_eq!(told["stop_type"], "eos");
    assert_eq!(told["generation_settings"]["grammar"], yes_no["grammar"]);
    let many = ask(&server, "/v1/completions", json!({"regex": "(a|b){5}", "n": 4}));
    let texts: Vec<&str> =
        many["choices"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert!(texts.iter().all(|text| text.len() == 5 && text.bytes().all(|byte| b"ab".contains(&byte))), "{texts:?}");
    assert!(texts.iter().any(|text| *text != texts[0]), "each choice has its own: {texts:?}");

    let schema = json!({
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "level": {"enum": [1, 2, 3]}},
        "required": ["on", "level"],
        "additionalProperties": false,
    });
    for (path, field) in [
        ("/completion", json!({"json_schema": schema})),
        (CHAT, json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})),
        (CHAT, json!({"response_format": {"type": "json_object", "schema": schema}})),
        (CHAT, json!({"json_schema": schema, "ignore_eos": true})),
    ] {
        let told = ask(&server, path, field);
        let text = told["content"].as_str().or(told["choices"][0]["message"]["content"].as_str());
        let value: Value = serde_json::from_str(text.unwrap()).unwrap_or_else(|problem| panic!("{problem}: {told}"));
        assert!(
            value["on"].is_boolean() && value["level"].is_u64() && value.as_object().unwrap().len() == 2,
            "{value}"
        );
    }
    // Cut short it may be, yet it begins as an object.
    let told = ask(&server, CHAT, json!({"response_format": {"type": "json_object"}, "max_tokens": 5}));
    assert!(told["choices"][0]["message"]["content"].as_str().unwrap().starts_with('{'), "{told}");
    let told = ask(&server, CHAT, json!({"response_format": {"type": "text"}, "max_tokens": 5}));
    assert_eq!(told["usage"]["completion_tokens"], 5);
}

#[test]
fn what_is_wrong_with_a_constraint_is_told_of_its_field() {
    let server = Server::tiny();
    for (field, value, message) in [
        ("grammar", json!("root ::= "), None),
        ("grammar", json!("root ::= nothing"), Some("grammar: there is no rule `nothing`")),
        ("grammar", json!("root ::= [a"), Some("grammar: line 1, column 12: the grammar ends too early")),
        ("json_schema", json!({"type": "strange"}), Some("json_schema: ")),
        ("regex", json!("("), Some("regex: ")),
        (
            "response_format",
            json!({"type": "json_schema", "json_schema": {"schema": {"type": 5}}}),
            Some("response_format: "),
        ),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1});
        body[field] = value;
        let answer = server.post(CHAT, &body);
        let Some(message) = message else {
            assert_eq!(answer.status, 200, "nothing at all is a text of this grammar: {}", answer.text());
            continue;
        };
        let told = answer.json();
        assert_eq!((answer.status, &told["error"]["param"]), (400, &json!(field)), "{told}");
        assert!(told["error"]["message"].as_str().unwrap().starts_with(message), "{told}");
    }
}

#[test]
fn flags_constrain_every_answer_that_does_not_say_otherwise() {
    let file = scratch("digits.gbnf", "root ::= [0-9]{4}\n");
    let server = Server::tiny_with(&["--grammar-file", file.to_str().unwrap()]);
    let text = |more| ask(&server, "/completion", more)["content"].as_str().unwrap().to_owned();
    assert!(text(json!({})).parse::<u32>().is_ok_and(|_| text(json!({})).len() == 4));
    assert_eq!(text(json!({"regex": "x{3}"})), "xxx");

    let model = fixture("llama.gguf");
    let run = |flags: &[&str]| {
        stdout_of(&[&["run", "-m", &model, "-no-cnv", "-p", "the", "--no-display-prompt"], flags].concat())
    };
    assert_eq!(run(&["--grammar", "root ::= \"one\" \" two\""]).trim(), "one two");
    assert_eq!(run(&["--regex", "ab{2}c"]).trim(), "abbc");
    let schema = scratch("schema.json", r#"{"const": [1, true]}"#);
    let answer = run(&["-jf", schema.to_str().unwrap()]);
    assert_eq!(answer.split_whitespace().collect::<String>(), "[1,true]");
    assert!(run(&["-j", "{}", "-n", "3"]).trim().starts_with('{'));
    for (flags, message) in [
        (["--grammar", "root ::= x"], "--grammar: there is no rule `x`"),
        (["-j", "{"], "--json-schema: not JSON"),
        (["-jf", "nowhere.json"], "nowhere.json: "),
    ] {
        let line = complaint_of(&[&["run", "-m", &model, "-p", "the"], &flags[..]].concat(), 1);
        assert!(line.starts_with(message), "{line}");
    }
}
