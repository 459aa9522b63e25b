//! A running `chaski serve` and a plain HTTP client for it, used by every file of these tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{fixture, program};

/// A server on a free port, killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: String,
}

/// What a request got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Server {
    /// Serves the tiny model, as the transcripts were recorded.
    pub fn tiny() -> Server {
        Server::tiny_with(&["--metrics"])
    }

    /// The same with further flags.
    pub fn tiny_with(words: &[&str]) -> Server {
        let model = fixture("llama.gguf");
        let line = ["-m", &model, "-c", "512", "-np", "2", "--alias", "tiny", "--chat-template", "chatml", "-t", "2"];
        Server::start(&[&line[..], words].concat())
    }

    pub fn start(words: &[&str]) -> Server {
        let mut child = program()
            .arg("serve")
            .args(words)
            .args(["--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error is a pipe")).lines();
        let mut said = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the server ended: {said}")).expect("it speaks UTF-8");
            said += &line;
            if let Some((_, rest)) = line.split_once("listening on http://") {
                break rest.split([' ', ',']).next().unwrap_or(rest).to_owned();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit can be set");
        stream
    }

    /// Sends a request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n{extra}\r\n",
            body.len()
        );
        // A server that refuses a body need not read it.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::parse(&bytes)
            .unwrap_or_else(|| panic!("{method} {path}: no answer: {:?}", String::from_utf8_lossy(&bytes)))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_else(|| panic!("{name} is missing in\n{page}"))
    }

    /// Sends a signal and waits for the end; gives the exit code.
    pub fn signal(&mut self, name: &str) -> Option<i32> {
        let kill = std::process::Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill exists").success());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not end");
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("the child can be waited for").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let rest = &bytes[end + 4..];
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Some(Answer { status, body: if is_chunked { dechunked(rest) } else { rest.to_vec() }, head })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|problem| panic!("{problem}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// The frames of a stream; `[DONE]` as a string.
    pub fn frames(&self) -> Vec<Value> {
        let text = self.text();
        let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
        frames.map(|frame| serde_json::from_str(frame).unwrap_or_else(|_| frame.into())).collect()
    }
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|&size| size > 0 && end + 2 + size <= rest.len()) else { break };
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = rest.get(end + 4 + size..).unwrap_or(&[]);
    }
    body
}
