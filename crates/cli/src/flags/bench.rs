//! Flags of `bench` alone, with llama-bench's names. Lists are measured in every combination.

use super::compute::{MOST_THREADS, MOST_TOKENS};
use super::{Flag, Given, Group};
use crate::command::Commands;
use crate::settings::Format;

const GROUP: Group = Group::Command;
const BENCH: Commands = Commands::BENCH;

pub const FLAGS: &[Flag] = &[
    Flag::value(&["-p", "--n-prompt"], "N,…", "prompt lengths (default: 512; 0: none)").on(GROUP, BENCH).set(|s, g| {
        s.bench.prompts = g.numbers(0..=MOST_TOKENS)?;
        Ok(())
    }),
    Flag::value(&["-n", "--n-gen"], "N,…", "tokens to generate (default: 128; 0: none)").on(GROUP, BENCH).set(
        |s, g| {
            s.bench.gens = g.numbers(0..=MOST_TOKENS)?;
            Ok(())
        },
    ),
    Flag::value(&["-pg"], "PP,TG", "a prompt and its generation measured as one; may be given several times")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.pairs.push(pair(g)?);
            Ok(())
        }),
    Flag::value(&["-d", "--n-depth"], "N,…", "tokens in the context before the clock starts (default: 0)")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.depths = g.numbers(0..=MOST_TOKENS)?;
            Ok(())
        }),
    Flag::value(&["-b", "--batch-size"], "N,…", "most tokens of a prompt handed over at once (default: 2048)")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.batches = g.numbers(1..=MOST_TOKENS)?;
            Ok(())
        }),
    Flag::value(&["-ub", "--ubatch-size"], "N,…", "most tokens computed in one step (default: 512)")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.ubatches = g.numbers(1..=MOST_TOKENS)?;
            Ok(())
        }),
    Flag::value(&["-t", "--threads"], "N,…", "threads (default: one per physical core)").on(GROUP, BENCH).set(
        |s, g| {
            s.bench.threads = g.numbers(1..=MOST_THREADS)?;
            Ok(())
        },
    ),
    Flag::value(&["-r", "--repetitions"], "N", "times each test is measured (default: 5)").on(GROUP, BENCH).set(
        |s, g| {
            s.bench.repetitions = g.number(1..=100_000)?;
            Ok(())
        },
    ),
    Flag::value(&["-o", "--output"], "md|json|jsonl|csv", "shape of the output (default: md)").on(GROUP, BENCH).set(
        |s, g| {
            if g.text == "sql" {
                return Err("sql is not supported; json and csv carry the same fields".into());
            }
            s.output.format = g.choice(&[
                ("md", Format::Text),
                ("json", Format::Json),
                ("jsonl", Format::JsonLines),
                ("csv", Format::Csv),
            ])?;
            Ok(())
        },
    ),
    Flag::switch(&["--no-warmup"], "do not run each test once before measuring it").on(GROUP, BENCH).set(|s, _| {
        s.bench.warmup = false;
        Ok(())
    }),
    Flag::switch(&["--progress"], "say which test is running, on standard error").on(GROUP, BENCH).set(|s, _| {
        s.bench.progress = true;
        Ok(())
    }),
    Flag::value(&["--delay"], "SECONDS", "pause between tests (default: 0)").on(GROUP, BENCH).set(|s, g| {
        s.bench.delay_s = g.number(0..=3600)?;
        Ok(())
    }),
    Flag::switch(
        &["--ops"],
        "say for each test where the time went: kernel by kernel, with its share of what the machine can do",
    )
    .on(GROUP, BENCH)
    .set(|s, _| {
        s.bench.ops = true;
        Ok(())
    }),
    Flag::value(&["--repack"], "0|1", "lay weights out anew where a kernel gains by it (default: 1)")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.load.repack = g.choice(&[("0", false), ("1", true)])?;
            Ok(())
        }),
    Flag::value(&["-embd", "--embeddings"], "0", "measure embeddings: not offered, 0")
        .on(GROUP, BENCH)
        .set(|_, g| g.only(&["0"], "there are no embeddings yet; leave it out")),
];

fn pair(given: &Given<'_>) -> Result<(usize, usize), String> {
    match given.numbers(0..=MOST_TOKENS)?[..] {
        [prompt, generate] => Ok((prompt, generate)),
        _ => Err(format!("expected two numbers, PP,TG, got `{}`", given.text)),
    }
}
