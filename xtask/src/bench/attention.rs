//! `cargo xtask bench attention`: prefill with `sage_attention` and without it, in turn; the attention op by itself and the
//! whole model. Called by hand; writes the technique's `measured.json`.

use super::chaski::{self, Chaski, Model};
use super::machine;
use super::options::Options;
use crate::docs;
use anyhow::{Context, Result};
use evidence::measure::Summary;
use serde_json::{Value as Json, json};
use std::path::Path;

const USAGE: &str = "\
cargo xtask bench attention [flags]

  --models NAME|FILE,…  (default: smollm2, qwen2.5-coder-0.5b, gemma3-270m)
  --tests pp4096,…      prompts (default: pp512, pp4096)
  --rounds N            times each side is run (default: 5)
  --threads N           (default: one per core)
  --chaski FILE         a built chaski; by default this checkout's, built";

const MODELS: &[&str] = &["smollm2", "qwen2.5-coder-0.5b", "gemma3-270m"];
const TESTS: &[&str] = &["pp512", "pp4096"];
const TECHNIQUE: &str = "sage_attention";

/// One run: ms that a prompt took, all of it and its attention alone.
#[derive(Clone, Copy)]
struct Reading {
    whole: f64,
    attention: f64,
}

/// Measures, writes the figures and the README's block, and prints the table.
pub fn run(root: &Path, args: &[&str]) -> Result<()> {
    if args.iter().any(|arg| matches!(*arg, "help" | "--help" | "-h")) {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(root, args, &[]).with_context(|| format!("\n{USAGE}\n"))?;
    let chaski = Chaski::get(root, &options)?;
    let models = names(&options.models, MODELS);
    let tests = names(&options.tests, TESTS);
    let mut rows = Vec::new();
    for name in &models {
        let model = chaski.model(name)?;
        for test in &tests {
            let tokens = test.strip_prefix("pp").with_context(|| format!("{test}: only prompts, as pp512"))?;
            rows.push(row(&chaski, &model, tokens, &options)?);
        }
    }
    let measured = json!({
        "command": "cargo xtask bench attention",
        "date": machine::date()?,
        "chaski": chaski::commit(root),
        "rounds": options.rounds,
        "load": machine::load(),
        "machine": machine::describe(&chaski)?,
        "tables": [{
            "title": "Prompts over an f16 cache, the technique off and on in turn: ms of the attention op and of all, medians; \
                      the ratios are medians of the rounds' ratios. Off, the op runs in bfloat16.",
            "columns": ["model, prompt", "attention off", "on", "off / on", "all off", "on", "off / on"],
            "rows": rows,
        }],
    });
    docs::measured::keep(root, TECHNIQUE, &measured)
}

fn names(given: &[String], default: &[&str]) -> Vec<String> {
    if given.is_empty() { default.iter().map(|&name| name.to_owned()).collect() } else { given.to_vec() }
}

/// One prompt length of one model, in turns.
fn row(chaski: &Chaski, model: &Model, tokens: &str, options: &Options) -> Result<Json> {
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let mut pair = [None; 2];
        for side in [round % 2, 1 - round % 2] {
            pair[side] = Some(read(chaski, model, tokens, ["off", "on"][side], options.threads)?);
        }
        if let [Some(off), Some(on)] = pair {
            rounds.push((off, on));
        }
    }
    let of = |value: &dyn Fn(&(Reading, Reading)) -> f64| {
        let values: Vec<f64> = rounds.iter().map(value).collect();
        Summary::of(&values).map_or(f64::NAN, |summary| summary.median)
    };
    Ok(json!([
        format!("{}, {tokens}", model.name),
        format!("{:.0}", of(&|(off, _)| off.attention)),
        format!("{:.0}", of(&|(_, on)| on.attention)),
        format!("{:.2} ×", of(&|(off, on)| off.attention / on.attention)),
        format!("{:.0}", of(&|(off, _)| off.whole)),
        format!("{:.0}", of(&|(_, on)| on.whole)),
        format!("{:.2} ×", of(&|(off, on)| off.whole / on.whole)),
    ]))
}

fn read(chaski: &Chaski, model: &Model, tokens: &str, mode: &str, threads: usize) -> Result<Reading> {
    let technique = format!("sage_attention={mode}");
    let threads = threads.to_string();
    let mut args = vec!["bench", &model.file, "-p", tokens, "-n", "0", "-r", "1", "--ops", "-o", "json"];
    args.extend(["--technique", &technique]);
    if threads != "0" {
        args.extend(["-t", &threads]);
    }
    let printed = chaski.ask_json(&args)?;
    let test = &printed[0];
    let whole = test["avg_ns"].as_f64().context("bench printed no avg_ns")? * 1e-6;
    let ops = test["ops"].as_array().context("bench printed no ops")?;
    let attention = ops.iter().filter(|op| op["op"] == "attention");
    let attention = attention.filter_map(|op| op["time_us"].as_f64()).sum::<f64>() * 1e-3;
    Ok(Reading { whole, attention })
}
