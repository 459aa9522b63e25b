//! `cargo xtask bench serve`: `chaski serve` beside `llama-server`, and what its streams feel of each other.
//!
//! - **company**: 16 chats at once, 128 tokens in and 64 out, on each server in turn; throughput and time to first token;
//! - **alone**: one client beside `chaski bench` with the same tokens;
//! - **intruder**: a prompt of 3000 tokens arrives amid 8 streams; the time between their tokens, drawn in `serve.svg`;
//! - **prefix**: the second of two requests with the same 2000 tokens.
//!
//! `--tests` chooses among them.

use super::chaski::Chaski;
use super::llama_cpp::{Isa, LlamaCpp};
use super::load::{Answer, Server};
use super::{options::Options, serve_chart};
use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
const TOKENS_IN: usize = 128;
const TOKENS_OUT: usize = 64;
const STREAMS: usize = 8;
const LONG_PROMPT: usize = 3000;
const PREFIX: usize = 2000;
const TESTS: [&str; 4] = ["company", "alone", "intruder", "prefix"];

pub fn run(root: &Path, args: &[&str]) -> Result<()> {
    if args.contains(&"--help") {
        println!(
            "cargo xtask bench serve [--tests {}] [--models M] [--rounds N] [--threads N] [--chaski PROGRAM]\n    [--llama DIR] [--out DIR]",
            TESTS.join(",")
        );
        return Ok(());
    }
    let options = Options::parse(root, args, &[])?;
    let chaski = Chaski::get(root, &options)?;
    let model = chaski.model(options.models.first().map_or("smollm2", String::as_str))?;
    let threads = if options.threads == 0 { 2 } else { options.threads }.to_string();
    println!("{} with {threads} threads, chaski {}", model.name, chaski.version);
    let bench = Bench { options: &options, chaski: &chaski, model: &model.file, threads: &threads };
    let wanted = |test: &&&str| options.tests.is_empty() || options.tests.iter().any(|given| given == **test);
    for test in TESTS.iter().filter(wanted) {
        match *test {
            "company" => bench.company()?,
            "alone" => bench.alone()?,
            "intruder" => bench.intruder()?,
            _ => bench.prefix()?,
        }
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    chaski: &'a Chaski,
    model: &'a str,
    threads: &'a str,
}

impl Bench<'_> {
    fn args<'b>(&'b self, more: &[&'b str]) -> Vec<&'b str> {
        [&["-m", self.model, "-t", self.threads][..], more].concat()
    }

    fn serve(&self, more: &[&str]) -> Result<Server> {
        Server::start(&self.chaski.program, &[&["serve"][..], &self.args(more)].concat())
    }

    fn company(&self) -> Result<()> {
        let llama = LlamaCpp::get(self.options, Isa::Native)?.tool("llama-server")?;
        let sizes = ["-np", "16", "-c", "8192"];
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..self.options.rounds {
            let server = self.serve(&sizes)?;
            ours.push(crowd(&server, round)?);
            server.stop()?;
            let server = Server::start(&llama, &self.args(&sizes))?;
            theirs.push(crowd(&server, round)?);
            server.stop()?;
        }
        println!(
            "company: {CLIENTS} chats of about {TOKENS_IN} tokens in and {TOKENS_OUT} out, medians of {} rounds",
            ours.len()
        );
        let medians = |runs: &[Crowd]| {
            [|run: &Crowd| run.rate, |run: &Crowd| run.first_s, |run: &Crowd| run.tokens_in]
                .map(|part| median(runs.iter().map(part).collect()))
        };
        let ([a, first_a, in_a], [b, first_b, in_b]) = (medians(&ours), medians(&theirs));
        println!("  chaski       {a:8.1} tokens/s out, first token after {first_a:6.3} s ({in_a:.0} tokens in)");
        println!("  llama-server {b:8.1} tokens/s out, first token after {first_b:6.3} s ({in_b:.0} tokens in)");
        println!("  ratio        {:8.2}                             {:6.2}", a / b, first_a / first_b);
        Ok(())
    }

    fn alone(&self) -> Result<()> {
        let test = format!("{TOKENS_IN},{TOKENS_OUT}");
        let server_args = ["-np", "1", "-c", "2048"];
        let (mut whole, mut streamed, mut measured) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.options.rounds {
            let server = self.serve(&server_args)?;
            for turn in 0..9 {
                let mut body = request(&tokens(round * 9 + turn, TOKENS_IN), TOKENS_OUT);
                body["stream"] = (turn % 2 == 0).into();
                let rate = (TOKENS_IN + TOKENS_OUT) as f64 / server.ask("/completion", &body)?.total_s();
                match turn {
                    0 => {} // warms it up
                    _ if turn % 2 == 0 => streamed.push(rate),
                    _ => whole.push(rate),
                }
            }
            server.stop()?;
            let args = self.args(&["-pg", &test, "-p", "0", "-n", "0", "-r", "4", "-o", "json"]);
            let rows = self.chaski.ask_json(&[&["bench"][..], &args].concat())?;
            measured.push(rows[0]["avg_ts"].as_f64().context("chaski bench: no avg_ts")?);
        }
        let (whole, streamed, measured) = (median(whole), median(streamed), median(measured));
        println!("alone: {TOKENS_IN} tokens in and {TOKENS_OUT} out");
        println!(
            "  bench {measured:.1} tokens/s, served whole {whole:.1} ({:.3}), streamed {streamed:.1} ({:.3})",
            whole / measured,
            streamed / measured
        );
        Ok(())
    }

    fn intruder(&self) -> Result<()> {
        // The prompt's share of a step, by the rule of the scheduler, and the whole step.
        let step = (512 / (STREAMS + 1)).max(64);
        let sizes = format!("{},{step}", step - STREAMS);
        let (mut before, mut meanwhile, mut first) = (Vec::new(), Vec::new(), Vec::new());
        let (mut chunks, mut steps) = (Vec::new(), Vec::new());
        for round in 0..self.options.rounds {
            let Meeting { streams, from, to } = self.meeting(round)?;
            let gaps = |during: bool| -> Vec<f64> {
                let pairs = streams.iter().flat_map(|stream| stream.pieces.windows(2));
                let chosen =
                    pairs.filter(|pair| (pair[1] > from && pair[0] < to) == during && (during || pair[1] < from));
                chosen.map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect()
            };
            let (quiet, busy) = (gaps(false), gaps(true));
            ensure!(!quiet.is_empty() && !busy.is_empty(), "the streams and the long prompt did not meet");
            before.push(median(quiet));
            meanwhile.extend(busy);
            first.push((to - from).as_secs_f64());
            // In the middle of the prompt, and at once, as the machine's speed changes from minute to minute.
            let args = self.args(&["-p", &sizes, "-n", "0", "-d", "1500", "-o", "json"]);
            let rows = self.chaski.ask_json(&[&["bench"][..], &args].concat())?;
            let ms = |row: usize| Ok(rows[row]["avg_ns"].as_f64().context("chaski bench: no avg_ns")? / 1e6);
            let (chunk_ms, step_ms): (Result<f64>, Result<f64>) = (ms(0), ms(1));
            chunks.push(chunk_ms?);
            steps.push(step_ms?);
            serve_chart::write(&self.options.out.join("serve.svg"), &streams, (from, to), median(chunks.clone()))?;
        }
        let (quiet, busy) = (median(before), median(meanwhile.clone()));
        println!(
            "intruder: {LONG_PROMPT} tokens amid {STREAMS} streams, medians of {} rounds, first token after {:.2} s",
            chunks.len(),
            median(first)
        );
        println!(
            "  between tokens: {quiet:.1} ms before, {busy:.1} ms meanwhile (p99 {:.1} ms, longest {:.1} ms)",
            share(meanwhile.clone(), 0.99),
            share(meanwhile, 1.0)
        );
        println!(
            "  rise {:.1} ms; alone a chunk of {} rows takes {:.1} ms, one of {step} {:.1} ms",
            busy - quiet,
            step - STREAMS,
            median(chunks),
            median(steps)
        );
        Ok(())
    }

    /// Streams under way, and a long prompt that comes amid them.
    fn meeting(&self, round: usize) -> Result<Meeting> {
        let server = self.serve(&["-np", "9", "-c", "8192", "--kv-unified"])?;
        let start = Barrier::new(STREAMS + 1);
        let meeting = std::thread::scope(|scope| -> Result<Meeting> {
            let threads: Vec<_> = (0..STREAMS)
                .map(|at| {
                    let (server, start) = (&server, &start);
                    scope.spawn(move || {
                        start.wait();
                        server.ask("/completion", &request(&tokens(at, 32), 420))
                    })
                })
                .collect();
            start.wait();
            std::thread::sleep(Duration::from_millis(2500));
            let intruder = server.ask("/completion", &request(&tokens(99 + round, LONG_PROMPT), 1));
            let streams =
                threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client failed"))?);
            let (streams, intruder) = (streams.collect::<Result<_>>()?, intruder?);
            Ok(Meeting { streams, from: intruder.begin, to: intruder.pieces[0] })
        })?;
        server.stop()?;
        Ok(meeting)
    }

    fn prefix(&self) -> Result<()> {
        let server = self.serve(&["-np", "1", "-c", "4096"])?;
        let mut ratios = Vec::new();
        for round in 0..self.options.rounds {
            let mut prompt = tokens(1000 + round, PREFIX);
            let first = server.ask("/completion", &request(&prompt, 4))?;
            // The same beginning, another question.
            prompt.extend(tokens(7, 8));
            let second = server.ask("/completion", &request(&prompt, 4))?;
            println!(
                "prefix: {PREFIX} tokens, first token after {:.1} ms, then {:.1} ms ({} cached)",
                first.first_s() * 1e3,
                second.first_s() * 1e3,
                second.last["timings"]["cache_n"]
            );
            ratios.push(first.first_s() / second.first_s());
        }
        server.stop()?;
        println!("  {:.1} times as fast", median(ratios));
        Ok(())
    }
}

/// What streams saw while a long prompt was read, from its arrival to its first token.
struct Meeting {
    streams: Vec<Answer>,
    from: Instant,
    to: Instant,
}

/// What a crowd of clients saw.
struct Crowd {
    /// Tokens generated per second, all clients together.
    rate: f64,
    /// Median time to the first token.
    first_s: f64,
    /// Tokens of a prompt.
    tokens_in: f64,
}

/// All clients at once, each with a chat of its own; after one that warms the server up.
fn crowd(server: &Server, round: usize) -> Result<Crowd> {
    const PATH: &str = "/v1/chat/completions";
    server.ask(PATH, &chat(round * 1000 + 999))?;
    let start = Barrier::new(CLIENTS);
    let begin = Instant::now();
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    server.ask(PATH, &chat(round * 1000 + client))
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Answer>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a client failed"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<Answer>>>()
    })?;
    let end = answers.iter().filter_map(|answer| answer.pieces.last()).max().context("no answers")?;
    let used = |name: &str| answers.iter().filter_map(|answer| answer.last["usage"][name].as_f64()).sum::<f64>();
    Ok(Crowd {
        rate: used("completion_tokens") / (*end - begin).as_secs_f64(),
        first_s: median(answers.iter().map(Answer::first_s).collect()),
        tokens_in: used("prompt_tokens") / CLIENTS as f64,
    })
}

/// A chat of about [`TOKENS_IN`] tokens, like no other.
fn chat(seed: usize) -> Json {
    const WORDS: [&str; 8] = ["rain", "house", "green", "walks", "over", "seven", "light", "stone"];
    let words: Vec<&str> = spread(seed).map(|at| WORDS[at % WORDS.len()]).take(88).collect();
    json!({
        "messages": [{"role": "user", "content": format!("{seed} {}", words.join(" "))}],
        "max_tokens": TOKENS_OUT, "ignore_eos": true, "temperature": 0, "stream": true,
        "stream_options": {"include_usage": true},
    })
}

fn request(prompt: &[usize], predict: usize) -> Json {
    json!({"prompt": prompt, "n_predict": predict, "ignore_eos": true, "temperature": 0, "stream": true})
}

/// Token ids like no other seed's.
fn tokens(seed: usize, count: usize) -> Vec<usize> {
    spread(seed).map(|at| 1000 + at % 20_000).take(count).collect()
}

/// Numbers that look random.
fn spread(seed: usize) -> impl Iterator<Item = usize> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    })
}

fn median(values: Vec<f64>) -> f64 {
    share(values, 0.5)
}

/// The value that this share of them does not exceed.
fn share(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().saturating_sub(1)) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
