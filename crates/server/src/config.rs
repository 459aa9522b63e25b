//! What the server is told by the program: where to listen, whom to let in, and what requests default to.

use std::time::Duration;

use engine::request::Pooling;
use engine::sampler::Params;
use serde_json::{Map, Value};

use crate::convert::constraint::Asked;

/// How the server is set up. [`Config::default`] is what `serve` does without flags.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on; one that ends in `.sock` is a Unix socket.
    pub hosts: Vec<String>,
    /// Port of the addresses; 0 lets the system choose.
    pub port: u16,
    /// Other programs may listen on the same port.
    pub reuse_port: bool,
    /// What stands before every path, without a slash at its end.
    pub api_prefix: String,
    /// Keys that let a client in; empty for everybody.
    pub api_keys: Vec<String>,
    /// Which web pages of other origins may call; nobody's unless asked for.
    pub cors: Option<Cors>,
    /// The longest a client may take to send a request.
    pub timeout: Duration,
    /// How long a stream may stay silent before a comment keeps it alive.
    pub sse_ping: Option<Duration>,
    /// Threads that serve connections; 0: one for every eight cores, at least one and at most four.
    pub num_threads: usize,
    /// `GET /metrics` answers.
    pub metrics: bool,
    /// `GET /slots` answers.
    pub slots: bool,
    /// `POST /props` answers.
    pub props: bool,
    /// Vectors of texts are given, made so; `None`: they are not.
    pub embeddings: Option<Pooling>,
    /// How they are normalised: -1 not, 0 to the largest value, p > 0 by the p-norm.
    pub embd_normalize: i32,
    /// What a request that does not say otherwise gets.
    pub defaults: Defaults,
    /// The most that one client may ask for.
    pub limits: Limits,
}

/// Cross-origin requests that are let in.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins; `*` for all, `localhost` for this machine's.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Request headers; `*` for all.
    pub headers: Vec<String>,
    /// Whether cookies and keys may come along.
    pub credentials: bool,
}

/// What a request gets that does not say otherwise.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Sampling parameters.
    pub sampling: Params,
    /// What every answer must look like.
    pub constraint: Option<Asked>,
    /// Tokens to generate; `None` until something else ends the answer.
    pub max_tokens: Option<u32>,
    /// Prompt tokens that a context shift keeps; `None` for all.
    pub keep: Option<u32>,
    /// A full context loses its older half, instead of ending the answer.
    pub context_shift: bool,
    /// Stop strings of requests without any.
    pub stop: Vec<String>,
    /// What the cache holds of a prompt may be used.
    pub cache_prompt: bool,
    /// Control tokens are spelled out in answers.
    pub special: bool,
    /// A last message of the assistant is gone on with.
    pub prefill_assistant: bool,
    /// Further variables for the chat template.
    pub template_kwargs: Map<String, Value>,
    /// `/infill` puts the suffix first.
    pub spm_infill: bool,
    /// Tokens of a prompt handed over at once; `/infill` fits its context to it.
    pub batch: usize,
}

/// The most that one client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of the request line and headers together.
    pub header_bytes: usize,
    /// Connections at once.
    pub connections: usize,
    /// Answers to one request: prompts times choices.
    pub answers: usize,
    /// Likeliest tokens told with each token.
    pub top_scores: u32,
    /// Stop strings, and their bytes together.
    pub stops: (usize, usize),
    /// Names in `samplers`, texts in `dry_sequence_breakers`.
    pub list: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hosts: vec!["127.0.0.1".into()],
            port: 8080,
            reuse_port: false,
            api_prefix: String::new(),
            api_keys: Vec::new(),
            cors: None,
            timeout: Duration::from_secs(3600),
            sse_ping: Some(Duration::from_secs(30)),
            num_threads: 0,
            metrics: false,
            slots: true,
            props: false,
            embeddings: None,
            embd_normalize: 2,
            defaults: Defaults::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            sampling: Params::default(),
            constraint: None,
            max_tokens: None,
            keep: Some(0),
            context_shift: false,
            stop: Vec::new(),
            cache_prompt: true,
            special: false,
            prefill_assistant: true,
            template_kwargs: Map::new(),
            spm_infill: false,
            batch: 2048,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: 16 << 20,
            header_bytes: 64 << 10,
            connections: 1024,
            answers: 1024,
            top_scores: 1024,
            stops: (128, 16 << 10),
            list: 64,
        }
    }
}
