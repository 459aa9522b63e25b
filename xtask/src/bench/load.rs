//! A light client for HTTP servers: streams of tokens, each with the times at which its pieces came. Called by
//! [`super::serve`].

use crate::process;
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to open its model.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server that was started here; ended when it is dropped.
pub struct Server {
    child: Child,
    address: String,
}

/// One answer.
pub struct Answer {
    pub begin: Instant,
    /// When each piece came.
    pub pieces: Vec<Instant>,
    /// What the last frame says.
    pub last: Json,
}

impl Server {
    /// Starts `program` with its arguments on a free port, and waits until it is healthy.
    pub fn start(program: &Path, args: &[&str]) -> Result<Server> {
        // Taken and given back, so that it is free.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(args).args(["--port", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Server { child, address: format!("127.0.0.1:{port}") };
        let begin = Instant::now();
        while !server.is_healthy() {
            if server.child.try_wait()?.is_some() || begin.elapsed() > START_LIMIT {
                bail!("{} {}: it does not serve", program.display(), args.join(" "));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn is_healthy(&self) -> bool {
        let answer = TcpStream::connect(&self.address).and_then(|mut stream| {
            write!(stream, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        });
        answer.is_ok_and(|line| line.contains(" 200 "))
    }

    /// Sends a request and reads its answer to the end; one that is no stream counts as a single piece.
    pub fn ask(&self, path: &str, body: &Json) -> Result<Answer> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let begin = Instant::now();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n")?;
        write!(stream, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        let (mut pieces, mut last, mut told) = (Vec::new(), Json::Null, String::new());
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let Some(frame) = line.strip_prefix("data: ") else {
                told += &line;
                continue;
            };
            let Ok(frame) = serde_json::from_str::<Json>(frame) else { continue };
            let text = frame["content"].as_str().or(frame["choices"][0]["delta"]["content"].as_str());
            if text.is_some_and(|text| !text.is_empty()) {
                pieces.push(Instant::now());
            }
            last = frame;
        }
        if let Some(whole) =
            told.find('{').and_then(|at| serde_json::from_str(&told[at..]).ok()).filter(|_| last.is_null())
        {
            last = whole;
            if last["content"].is_string() {
                pieces.push(Instant::now());
            }
        }
        if pieces.is_empty() {
            bail!("{path}: no answer: {told} {last}");
        }
        Ok(Answer { begin, pieces, last })
    }

    /// Asks it to end and waits for that.
    pub fn stop(mut self) -> Result<()> {
        process::run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stdout(Stdio::null()))?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended, or to be ended because something has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// Seconds to the first piece.
    pub fn first_s(&self) -> f64 {
        self.pieces.first().map_or(f64::NAN, |first| (*first - self.begin).as_secs_f64())
    }

    /// Seconds to the last one.
    pub fn total_s(&self) -> f64 {
        self.pieces.last().map_or(f64::NAN, |last| (*last - self.begin).as_secs_f64())
    }
}
