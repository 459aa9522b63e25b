//! Malformed and hostile requests by the thousand: each is told what is wrong, and good clients are answered
//! right meanwhile.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::client::{Answer, Server};

/// Routes that take a body, with one that is right.
fn routes() -> Vec<(&'static str, Value)> {
    let chat = json!({"messages": [{"role": "user", "content": "the rain"}], "max_tokens": 2});
    let text = json!({"prompt": "the rain", "max_tokens": 2, "stop": ["x"], "temperature": 0.5});
    vec![
        (
            "/completion",
            json!({"prompt": "the rain", "n_predict": 2, "logit_bias": [[5, -1.0]], "samplers": ["top_k"]}),
        ),
        ("/v1/completions", text),
        ("/v1/chat/completions", chat.clone()),
        ("/tokenize", json!({"content": "the rain", "add_special": true})),
        ("/detokenize", json!({"tokens": [5, 6]})),
        ("/apply-template", chat),
    ]
}

/// Values of a wrong kind or out of range, by what a field takes.
fn wrong_values(kind: &str) -> Vec<Value> {
    let wrong = |list: &[Value]| list.to_vec();
    let (number, text, list, object, truth) = (json!(3), json!("x"), json!([1]), json!({"a": 1}), json!(true));
    match kind {
        "whole" => wrong(&[text, list, object, truth, json!(1.5), json!(1e300), json!(-99), json!(i64::MIN)]),
        "float" => wrong(&[text, list, object, truth, json!(1e300)]),
        "switch" => wrong(&[number, text, list, object]),
        "text" => wrong(&[number, list, object, truth]),
        "list" => wrong(&[number, text, object, truth]),
        "texts" => wrong(&[number, object, truth, list, json!([[]])]),
        "object" => wrong(&[number, text, list, truth]),
        other => panic!("{other}"),
    }
}

/// Fields of every answering route, by what they take.
const FIELDS: &[(&str, &str)] = &[
    ("n_predict", "whole"),
    ("max_tokens", "whole"),
    ("max_completion_tokens", "whole"),
    ("n_keep", "whole"),
    ("n", "whole"),
    ("n_probs", "whole"),
    ("id_slot", "whole"),
    ("n_indent", "whole"),
    ("t_max_predict_ms", "whole"),
    ("top_k", "whole"),
    ("seed", "whole"),
    ("repeat_last_n", "whole"),
    ("mirostat", "whole"),
    ("min_keep", "whole"),
    ("dry_allowed_length", "whole"),
    ("temperature", "float"),
    ("top_p", "float"),
    ("min_p", "float"),
    ("typical_p", "float"),
    ("repeat_penalty", "float"),
    ("presence_penalty", "float"),
    ("frequency_penalty", "float"),
    ("dry_multiplier", "float"),
    ("xtc_probability", "float"),
    ("mirostat_tau", "float"),
    ("stream", "switch"),
    ("cache_prompt", "switch"),
    ("ignore_eos", "switch"),
    ("return_tokens", "switch"),
    ("return_progress", "switch"),
    ("timings_per_token", "switch"),
    ("post_sampling_probs", "switch"),
    ("grammar", "text"),
    ("regex", "text"),
    ("response_fields", "list"),
    ("stop", "texts"),
    ("dry_sequence_breakers", "list"),
    ("stream_options", "object"),
    ("response_format", "object"),
    ("logit_bias", "float"),
];

/// Bodies that are JSON and must be refused.
fn wrong_fields() -> Vec<(&'static str, String)> {
    let mut cases = Vec::new();
    for (path, body) in routes().into_iter().take(3) {
        for (field, kind) in FIELDS {
            for value in wrong_values(kind) {
                let is_fine = match *field {
                    // -1 and below switch it off; a list or object of biases may be right.
                    "top_k" => value.is_i64() && value.as_i64() == Some(-99),
                    "logit_bias" => value.is_object(),
                    _ => false,
                };
                if !is_fine {
                    let mut body = body.clone();
                    body[*field] = value;
                    cases.push((path, body.to_string()));
                }
            }
        }
    }
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let message = |message: Value| json!({"messages": [message], "max_tokens": 1}).to_string();
    for body in [
        json!({"prompt": 5}).to_string(),
        json!({"prompt": []}).to_string(),
        json!({"prompt": ""}).to_string(),
        json!({"prompt": [[]]}).to_string(),
        json!({"prompt": [99999999]}).to_string(),
        json!({"prompt": [-1]}).to_string(),
        json!({"prompt": [1.5]}).to_string(),
        json!({"prompt": {"prompt_string": 5}}).to_string(),
        json!({"prompt": {"prompt_string": "a", "multimodal_data": ["aaaa"]}}).to_string(),
        json!({"prompt": "the ".repeat(100_000)}).to_string(),
        json!({"prompt": vec!["a"; 5000]}).to_string(),
        json!({"prompt": "a", "n": 100_000}).to_string(),
        json!({"prompt": vec!["a"; 100], "n": 100}).to_string(),
        json!({"prompt": "a", "n_probs": 1_000_000}).to_string(),
        json!({"prompt": "a", "stop": vec!["a"; 10_000]}).to_string(),
        json!({"prompt": "a", "stop": ["a".repeat(100_000)]}).to_string(),
        json!({"prompt": "a", "samplers": vec!["top_k"; 10_000]}).to_string(),
        json!({"prompt": "a", "samplers": ["nothing"]}).to_string(),
        json!({"prompt": "a", "samplers": "~~~"}).to_string(),
        json!({"prompt": "a", "dry_sequence_breakers": vec!["x"; 10_000]}).to_string(),
        json!({"prompt": "a", "logit_bias": [[99999999, 1]]}).to_string(),
        json!({"prompt": "a", "logit_bias": [[1, "x"]]}).to_string(),
        json!({"prompt": "a", "logit_bias": [[1]]}).to_string(),
        json!({"prompt": "a", "logit_bias": {"1": 1e300}}).to_string(),
        json!({"prompt": "a", "lora": [{"id": 0, "scale": 1}]}).to_string(),
        json!({"prompt": "a", "top_p": 2}).to_string(),
        json!({"prompt": "a", "grammar": "root ::= \"a\"", "json_schema": {}}).to_string(),
        json!({"prompt": "a", "regex": "a", "response_format": {"type": "json_object"}}).to_string(),
        json!({"prompt": "a", "json_schema": 5}).to_string(),
        json!({"prompt": "a", "json_schema": {"type": "strange"}}).to_string(),
        json!({"prompt": "a", "json_schema": {"$ref": "http://example.com/schema"}}).to_string(),
        json!({"prompt": "a", "json_schema": {"type": "string", "pattern": "("}}).to_string(),
        json!({"prompt": "a", "regex": "("}).to_string(),
        json!({"prompt": "a", "regex": "(".repeat(100_000)}).to_string(),
        json!({"prompt": "a", "regex": "a".repeat(1_000_000)}).to_string(),
        json!({"prompt": "a", "grammar": "root = a"}).to_string(),
        json!({"prompt": "a", "grammar": "root ::= root"}).to_string(),
        json!({"prompt": "a", "grammar": format!("root ::= {}", "(".repeat(100_000))}).to_string(),
        json!({"prompt": "a", "grammar": "%llguidance {}\nstart: ("}).to_string(),
        json!({"prompt": "a", "grammar": "root ::= \"a\"", "grammar_lazy": true}).to_string(),
        json!({"prompt": "a", "response_format": {"type": "xml"}}).to_string(),
        json!({"prompt": "a", "response_format": {"type": "json_schema"}}).to_string(),
        format!("{{\"prompt\": {}}}", deep("[", "]")),
        format!("{{\"prompt\": {}}}", deep("{\"a\":", "}")),
        "[1, 2, 3]".into(),
        "null".into(),
        "\"a\"".into(),
        "{\"prompt\": 1e999}".into(),
        "{\"prompt\": \"\\ud800\"}".into(),
        "{\"prompt\": \"a\", }".into(),
        "{'prompt': 'a'}".into(),
        String::new(),
    ] {
        cases.push(("/completion", body));
    }
    for body in [
        message(json!("hi")),
        message(json!({"content": "hi"})),
        message(json!({"role": 5, "content": "hi"})),
        message(json!({"role": "user"})),
        message(json!({"role": "user", "content": 5})),
        message(json!({"role": "user", "content": [5]})),
        message(json!({"role": "user", "content": [{"type": "text"}]})),
        message(json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]})),
        message(json!({"role": "user", "content": "the ".repeat(50_000)})),
        json!({"messages": "hi"}).to_string(),
        json!({"messages": {}}).to_string(),
        json!({}).to_string(),
        json!({"messages": [{"role": "user", "content": "hi"}], "top_logprobs": 2}).to_string(),
        json!({"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]}).to_string(),
        json!({"messages": [{"role": "user", "content": "hi"}], "chat_template_kwargs": 5}).to_string(),
        json!({"messages": [{"role": "user", "content": "hi"}], "chat_template_kwargs": {"enable_thinking": "x"}})
            .to_string(),
        json!({"messages": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]}).to_string(),
    ] {
        cases.push(("/v1/chat/completions", body));
    }
    cases
}

/// A client error in JSON, with a message. 501 is for what is known and not offered.
fn check(path: &str, body: &[u8], answer: &Answer) {
    let shown = || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    let is_refusal = (400..500).contains(&answer.status) || answer.status == 501;
    assert!(is_refusal, "{path} {}: {} {}", shown(), answer.status, answer.text());
    let told = answer.json();
    let error = &told["error"];
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty() && !message.contains('\n'), "{path} {}: {}", shown(), answer.text());
    assert!(error["type"].is_string(), "{path} {}: {}", shown(), answer.text());
}

#[test]
fn every_bad_request_is_told_what_is_wrong_while_good_ones_are_answered() {
    const NUM_BAD: usize = 10_000;
    let mut server = Server::tiny();
    let good = json!({"prompt": "the rain in the plain", "n_predict": 8, "temperature": 0, "ignore_eos": true});
    let expected = server.post("/completion", &good).json()["content"].clone();
    let cases = wrong_fields();
    let routes = routes();
    let (next, over, num_good) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let bad: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= NUM_BAD {
                            return;
                        }
                        if let Some((path, body)) = cases.get(index) {
                            check(path, body.as_bytes(), &server.ask("POST", path, &[], body.as_bytes()));
                            continue;
                        }
                        // A body that breaks off somewhere, or that is noise.
                        let (path, body) = &routes[index % routes.len()];
                        let whole = body.to_string().into_bytes();
                        let body = match index % 3 {
                            0 => noise(index as u64, 1 + index % 300),
                            _ => whole[..index % whole.len()].to_vec(),
                        };
                        check(path, &body, &server.ask("POST", path, &[], &body));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let answer = server.post("/completion", &good);
                assert_eq!((answer.status, &answer.json()["content"]), (200, &expected));
                num_good.fetch_add(1, Ordering::Relaxed);
            }
        });
        let outcome: Vec<_> = bad.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(outcome.into_iter().all(|outcome| outcome.is_ok()), "see above");
    });
    assert!(num_good.into_inner() > 0);
    assert!(server.lives());
    assert_eq!(server.metric("chaski:panics_total"), 0.0);
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(next).collect()
}

/// What is no HTTP, or too much of it, is turned away and the server goes on.
#[test]
fn broken_http_is_turned_away() {
    let mut server = Server::tiny();
    let raw = |bytes: &[u8]| {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::parse(&answer).map(|answer| answer.status)
    };
    let header =
        |size: usize| format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(size)).into_bytes();
    let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(1000)).into_bytes();
    let cases: [(&[u8], &[Option<u16>]); 8] = [
        (b"nonsense\r\n\r\n", &[Some(400)]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", &[Some(400), None]),
        (b"GET /health HTTP/9.9\r\n\r\n", &[Some(400), Some(505), None]),
        (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n{}", &[Some(400)]),
        (
            b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            &[Some(400)],
        ),
        (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", &[Some(413)]),
        (&header(100 << 10), &[Some(431)]),
        (&many, &[Some(431)]),
    ];
    for (bytes, expected) in cases {
        let status = raw(bytes);
        assert!(expected.contains(&status), "{:?}: {status:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    }
    for (method, path, expected) in [
        ("GET", "/nowhere", 404),
        ("GET", "/completion", 405),
        ("DELETE", "/health", 405),
        ("POST", "/v1/nowhere", 404),
    ] {
        let answer = server.ask(method, path, &[], b"");
        assert_eq!(answer.status, expected, "{method} {path}");
        check(path, b"", &answer);
    }
    assert_eq!(server.get("/health").status, 200);
    assert!(server.lives());
}
