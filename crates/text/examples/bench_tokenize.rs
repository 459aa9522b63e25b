//! How fast a model's tokenizer loads and encodes: `bench_tokenize MODEL.gguf [TEXT]`.
//!
//! Prints the milliseconds to build the tokenizer from parsed metadata, and the best of five runs
//! over the first megabyte of the text (without one, over a made-up mixture), with its worst
//! cases: one letter, spaces and newlines a million times.

use std::time::{Duration, Instant};
use text::{Encode, Tokenizer};

const MEGABYTE: usize = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let model = std::fs::read(args.next().ok_or("usage: bench_tokenize MODEL.gguf [TEXT]")?)?;
    let mut text = match args.next() {
        Some(path) => std::fs::read(path)?,
        None => mixture(),
    };
    text.truncate(MEGABYTE);

    let (gguf, parse) = timed(|| gguf::Gguf::parse(&model));
    let metadata = gguf?.metadata;
    let (tokenizer, build) = timed(|| Tokenizer::from_metadata(&metadata));
    let tokenizer = tokenizer?;
    println!("parse {:.1} ms, build {:.1} ms, {} tokens", ms(parse), ms(build), tokenizer.vocab().len());

    let cases = [
        ("text", text),
        ("letters", vec![b'a'; MEGABYTE]),
        ("spaces", vec![b' '; MEGABYTE]),
        ("newlines", vec![b'\n'; MEGABYTE]),
    ];
    for (name, text) in cases {
        let runs = (0..5).map(|_| timed(|| tokenizer.encode(&text, Encode::PROMPT)));
        let Some((ids, best)) = runs.min_by_key(|(_, time)| *time) else { continue };
        let speed = text.len() as f64 / best.as_secs_f64() / 1e6;
        println!("{name:9} {:8} tokens {:9.2} ms {speed:8.2} MB/s", ids.len(), ms(best));
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Prose, code, numbers and other scripts, made up so that words repeat about as they do in print.
fn mixture() -> Vec<u8> {
    const STEMS: [&str; 16] = [
        "token",
        "merge",
        "light",
        "river",
        "state",
        "count",
        "water",
        "stone",
        "Привет",
        "世界",
        "naïve",
        "2026",
        "for (",
        "return ",
        "x_1 = ",
        "…",
    ];
    const ENDS: [&str; 8] = ["", "s", "ing", "ed", "er", ",", ".\n", "();\n    "];
    let (mut text, mut state) = (Vec::new(), 1u64);
    while text.len() < MEGABYTE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(b' ');
        text.extend(STEMS[(state >> 60) as usize].bytes());
        text.extend(ENDS[(state >> 54 & 7) as usize].bytes());
    }
    text
}
