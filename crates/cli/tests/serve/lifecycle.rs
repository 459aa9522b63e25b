//! Starting, keys, clients that go away, and stopping.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Server};
use crate::support::{complaint_of, fixture};

/// An answer that takes a while.
fn long() -> Value {
    json!({"prompt": "the rain", "n_predict": 4000, "ignore_eos": true, "stream": true, "cache_prompt": false})
}

fn long_server() -> Server {
    let model = fixture("llama.gguf");
    Server::start(&["-m", &model, "-c", "8192", "-np", "1", "--metrics", "-t", "1"])
}

/// Sends a request and reads the beginning of its answer.
fn begun(server: &Server, body: &Value) -> (std::net::TcpStream, Vec<u8>) {
    let mut stream = server.connect();
    let text = body.to_string();
    let head =
        format!("POST /completion HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut first = vec![0; 1024];
    let count = stream.read(&mut first).unwrap();
    first.truncate(count);
    assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
    (stream, first)
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_lets_answers_end_and_exits_with_0() {
    let mut server = long_server();
    let (mut stream, mut bytes) = begun(&server, &long());
    let reader = std::thread::spawn(move || {
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(server.signal("-TERM"), Some(0));
    let bytes = reader.join().unwrap();
    let frames = Answer::parse(&bytes).unwrap().frames();
    let last = frames.last().unwrap();
    assert_eq!((&last["stop"], &last["tokens_predicted"]), (&json!(true), &json!(4000)), "{last}");
    assert_eq!(Server::tiny().signal("-INT"), Some(0));
}

#[test]
fn a_client_that_goes_away_gives_back_its_place() {
    let server = long_server();
    let (stream, _) = begun(&server, &long());
    assert_eq!(server.get("/slots").json()[0]["is_processing"], true);
    drop(stream);
    wait_for("cancelled", || server.metric("chaski:answers_cancelled_total") == 1.0);
    wait_for("nobody runs", || server.metric("llamacpp:requests_processing") == 0.0);
    wait_for("blocks are free", || server.metric("chaski:kv_used_bytes") == 0.0);
    wait_for("the slot is free", || server.get("/slots").json()[0]["is_processing"] == false);
    // The same of a client that waits for a whole answer.
    let mut whole = long();
    whole["stream"] = false.into();
    let text = whole.to_string();
    let mut stream = server.connect();
    write!(stream, "POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{text}", text.len()).unwrap();
    wait_for("begun", || server.metric("llamacpp:requests_processing") == 1.0);
    drop(stream);
    wait_for("cancelled", || server.metric("chaski:answers_cancelled_total") == 2.0);
}

#[test]
fn only_who_brings_a_key_is_let_in() {
    let keys = crate::support::scratch("keys.txt", "# keys\n\nfrom-file\n");
    let server = Server::tiny_with(&["--api-key", "one,two", "--api-key-file", keys.to_str().unwrap()]);
    let status = |headers: &[(&str, &str)]| server.ask("GET", "/v1/models", headers, b"").status;
    assert_eq!(server.get("/health").status, 200);
    for key in ["one", "two", "from-file"] {
        assert_eq!(status(&[("Authorization", &format!("Bearer {key}"))]), 200, "{key}");
        assert_eq!(status(&[("X-Api-Key", key)]), 200, "{key}");
    }
    for headers in
        [&[][..], &[("Authorization", "Bearer on")], &[("Authorization", "Bearer one,two")], &[("X-Api-Key", "")]]
    {
        assert_eq!(status(headers), 401, "{headers:?}");
    }
    let refused = server.get("/v1/models").json();
    assert_eq!(refused["error"]["code"], "invalid_api_key", "{refused}");
    let refused = server.get("/props").json();
    assert_eq!(refused["error"]["code"], 401, "{refused}");
    assert_eq!(server.get("/nowhere").status, 401, "not even what there is is told");
}

#[test]
fn other_origins_are_let_in_only_when_asked() {
    let origin = ("Origin", "http://page.example");
    let allowed = |server: &Server| server.ask("GET", "/health", &[origin], b"").header("access-control-allow-origin");
    assert_eq!(allowed(&Server::tiny()), None);
    assert_eq!(allowed(&Server::tiny_with(&["--cors-origins", "localhost"])), None);
    assert_eq!(
        allowed(&Server::tiny_with(&["--cors-origins", "http://page.example"])).as_deref(),
        Some("http://page.example")
    );
    let open = Server::tiny_with(&["--cors-origins", "*"]);
    assert_eq!(allowed(&open).as_deref(), Some("*"));
    let preflight = [origin, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-a")];
    assert_eq!(open.ask("OPTIONS", "/completion", &preflight, b"").status, 200);
}

#[test]
fn it_listens_on_this_machine_alone_and_says_where() {
    let server = Server::tiny_with(&["--api-prefix", "/llm"]);
    assert!(server.address.starts_with("127.0.0.1:"), "{}", server.address);
    assert_eq!((server.get("/llm/health").status, server.get("/health").status), (200, 404));
    let (_, port) = server.address.split_once(':').unwrap();
    let line = complaint_of(&["serve", "-m", &fixture("llama.gguf"), "--port", port, "--log-disable"], 1);
    assert!(line.starts_with(&format!("127.0.0.1:{port}: cannot listen there")), "{line}");
}

#[test]
fn a_prefix_that_was_computed_before_is_found_again() {
    let server = Server::tiny();
    let ask = |cache: bool| {
        let body = json!({"prompt": "the rain in the plain ".repeat(8), "n_predict": 1, "cache_prompt": cache});
        server.post("/completion", &body).json()["timings"]["cache_n"].as_u64().unwrap()
    };
    assert_eq!(ask(true), 0);
    assert!(ask(true) >= 32);
    assert_eq!(ask(false), 0);
}

#[test]
fn many_clients_get_what_one_gets() {
    // The reference plan gives the same bits however many rows a step has.
    let server = Server::tiny_with(&["-np", "4", "-c", "2048", "--plan", "reference"]);
    let body = |seed: usize| json!({"prompt": "the rain", "n_predict": 24, "seed": seed, "temperature": 1.0});
    let alone: Vec<_> = (0..4).map(|seed| server.post("/completion", &body(seed)).json()["content"].clone()).collect();
    assert!(alone.windows(2).any(|pair| pair[0] != pair[1]), "seeds make a difference: {alone:?}");
    std::thread::scope(|scope| {
        let (server, alone) = (&server, &alone);
        for client in 0..16 {
            scope.spawn(move || {
                let answer = server.post("/completion", &body(client % 4));
                assert_eq!(answer.json()["content"], alone[client % 4]);
            });
        }
    });
}
