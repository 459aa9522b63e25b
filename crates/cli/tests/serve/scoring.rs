//! Given texts scored through `echo`, as evaluation tools do it, against the same scores got one token at a time.

use serde_json::{Value, json};

use crate::client::Server;

fn scores(server: &Server, body: &Value) -> Value {
    let answer = server.post("/v1/completions", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["choices"][0].clone()
}

#[test]
fn echo_scores_every_token_of_the_prompt() {
    // Exact, so that a prompt and single tokens round alike.
    let server = Server::tiny_with(&["--plan", "exact"]);
    let text = "the rain in the plain";
    let body = json!({"prompt": text, "max_tokens": 1, "logprobs": 1, "echo": true, "temperature": 0});
    let choice = scores(&server, &body);
    let tokens = server.post("/tokenize", &json!({"content": text, "add_special": true})).json()["tokens"].clone();
    let tokens: Vec<u64> = tokens.as_array().unwrap().iter().map(|token| token.as_u64().unwrap()).collect();
    let logprobs = &choice["logprobs"];
    let of = |name: &str| logprobs[name].as_array().unwrap().clone();
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(of(name).len(), tokens.len() + 1, "{name}: the prompt and one token more");
    }
    assert!(choice["text"].as_str().unwrap().starts_with(text));
    assert_eq!((&logprobs["token_logprobs"][0], &logprobs["top_logprobs"][0]), (&Value::Null, &Value::Null));
    let spelled: String = of("tokens")[..tokens.len()].iter().map(|token| token.as_str().unwrap()).collect();
    assert!(spelled.ends_with(text), "{spelled}");

    // The same, asked token by token: all likeliest tokens of a prefix contain the next one.
    for end in 1..tokens.len() {
        let body =
            json!({"prompt": tokens[..end], "n_predict": 1, "n_probs": 1000, "temperature": 0, "cache_prompt": false});
        let top = server.post("/completion", &body).json()["completion_probabilities"][0]["top_logprobs"].clone();
        let top = top.as_array().unwrap();
        let next = top.iter().find(|entry| entry["id"].as_u64() == Some(tokens[end])).unwrap();
        let (expected, found) = (next["logprob"].as_f64().unwrap(), logprobs["token_logprobs"][end].as_f64().unwrap());
        assert!((expected - found).abs() < 1e-4, "token {end}: {found} instead of {expected}");
        let best = logprobs["top_logprobs"][end].as_object().unwrap().values().next().unwrap().as_f64().unwrap();
        assert!((best - top[0]["logprob"].as_f64().unwrap()).abs() < 1e-4, "token {end}");
    }
}

#[test]
fn echo_takes_token_lists_batches_and_streams() {
    let server = Server::tiny();
    let body = json!({"prompt": [[122, 263], [38, 120, 103]], "max_tokens": 0, "logprobs": 0, "echo": true});
    let answer = server.post("/v1/completions", &body).json();
    let lens: Vec<_> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["logprobs"]["tokens"].as_array().unwrap().len())
        .collect();
    assert_eq!(lens, [2, 3]);
    assert_eq!(answer["choices"][0]["text"], "the");
    assert_eq!(answer["usage"]["prompt_tokens"], 5);

    let body = json!({"prompt": "the rain", "max_tokens": 3, "echo": true, "stream": true, "temperature": 0, "logit_bias": [[277, 100]]});
    let frames = server.post("/v1/completions", &body).frames();
    let text: String = frames.iter().filter_map(|frame| frame["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "the rainororor");
}

#[test]
fn a_stop_string_is_named_and_left_out() {
    let server = Server::tiny();
    let body = json!({"prompt": "the", "n_predict": 50, "temperature": 0, "logit_bias": [[277, 100]], "stop": ["zz", "oror"], "n_probs": 1});
    let answer = server.post("/completion", &body).json();
    assert_eq!(
        (&answer["content"], &answer["stop_type"], &answer["stopping_word"]),
        (&json!(""), &json!("word"), &json!("oror"))
    );
    let body = json!({"prompt": "the", "n_predict": 50, "temperature": 0, "logit_bias": [[277, 100]], "n_indent": 4, "t_max_predict_ms": 1});
    assert_eq!(server.post("/completion", &body).json()["stop_type"], "limit");
}

/// Vectors as llama-server gives them for each way of pooling, and in both shapes.
#[test]
fn vectors_are_llama_servers() {
    const RECORDED: &str = include_str!("../../../../fixtures/wire/embeddings.json");
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let numbers =
        |value: &Value| -> Vec<f64> { value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let alike = |expected: &Value, found: &Value, what: &str| {
        let (expected, found) = (numbers(expected), numbers(found));
        assert_eq!(expected.len(), found.len(), "{what}");
        for (expected, found) in expected.iter().zip(&found) {
            assert!((expected - found).abs() < 0.01 * expected.abs().max(1.0), "{what}: {found} instead of {expected}");
        }
    };
    for pooling in ["mean", "cls", "last"] {
        let server = Server::tiny_with(&["--embeddings", "--pooling", pooling]);
        let expected = &recorded[pooling];
        let answer = server.post("/v1/embeddings", &json!({"input": ["the rain in the plain"]})).json();
        let vector = |answer: &Value, index: usize| answer["data"][index]["embedding"].clone();
        alike(&vector(&expected["openai"], 0), &vector(&answer, 0), pooling);
        // The same beside another prompt that begins alike, and after it.
        let both = server.post("/v1/embeddings", &json!({"input": ["the", "the rain in the plain"]})).json();
        alike(&vector(&expected["openai"], 0), &vector(&both, 1), pooling);
        assert_eq!(answer["usage"], expected["openai"]["usage"]);
        let plain = server.post("/embedding", &json!({"content": "the rain", "embd_normalize": -1})).json();
        alike(&expected["llama"][0]["embedding"][0], &plain[0]["embedding"][0], pooling);
        let coded = server.post("/v1/embeddings", &json!({"input": "the", "encoding_format": "base64"})).json();
        // 64 numbers of 4 bytes, 3 bytes in 4 letters.
        assert_eq!(coded["data"][0]["embedding"].as_str().unwrap().len(), 344);
        assert_eq!(server.post("/v1/embeddings", &json!({"input": "the", "dimensions": 3})).status, 400);
        assert_eq!(server.post("/v1/embeddings", &json!({})).status, 400);
    }
}
