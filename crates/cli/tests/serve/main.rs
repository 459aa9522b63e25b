//! `chaski serve` from outside: a process of its own, asked over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod client;
mod grammar;
mod hostile;
mod lifecycle;
mod scoring;
mod transcripts;
