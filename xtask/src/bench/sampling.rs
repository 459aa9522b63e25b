//! `cargo xtask bench sampling`: the sampler with `flash_sampling`, without it, and llama.cpp's, on the same rows in the
//! same loop (the example `sampling` of the crate `chaski`). Called by hand; writes the technique's `measured.json`.

use super::chaski::{self, Chaski};
use super::llama_cpp::{Isa, LlamaCpp};
use super::machine;
use super::options::Options;
use crate::{docs, process};
use anyhow::{Context, Result};
use serde_json::{Value as Json, json};
use std::path::Path;

const USAGE: &str = "\
cargo xtask bench sampling [flags]

  --models NAME|FILE  whose logits are sampled (default: qwen2.5-coder-0.5b)
  --rounds N          times each sampler is timed on a setting (default: 300)
  --llama DIR         a build of llama.cpp; by default its source is fetched with pip and built once, in the user's cache
  --chaski FILE       a built chaski; by default this checkout's, built";

const MODEL: &str = "qwen2.5-coder-0.5b";
const TECHNIQUE: &str = "flash_sampling";

/// Measures, writes the figures and the README's block, and prints the tables.
pub fn run(root: &Path, args: &[&str]) -> Result<()> {
    if args.iter().any(|arg| matches!(*arg, "help" | "--help" | "-h")) {
        println!("{USAGE}");
        return Ok(());
    }
    let args = [&["--rounds", "300"], args].concat();
    let options = Options::parse(root, &args, &[]).with_context(|| format!("\n{USAGE}\n"))?;
    let chaski = Chaski::get(root, &options)?;
    let llama = LlamaCpp::get(&options, Isa::Native)?;
    let library = llama.library("libllama.so")?;
    let model = chaski.model(options.models.first().map_or(MODEL, String::as_str))?;
    let mut example = process::cargo();
    example.args(["run", "--release", "--quiet", "--package", "chaski", "--example", "sampling", "--"]);
    example.arg(library).args([&model.file, &options.rounds.to_string()]).current_dir(root);
    let printed = process::capture(&mut example)?;
    let results: Json = serde_json::from_str(&printed).context("the example printed no JSON")?;
    let measured = json!({
        "command": "cargo xtask bench sampling",
        "date": machine::date()?,
        "chaski": chaski::commit(root),
        "peer": llama.version(),
        "model": model.name,
        "rounds": options.rounds,
        "load": machine::load(),
        "machine": machine::describe(&chaski)?,
        "tables": [rows(&results["rows"]), generation(&results)],
    });
    docs::measured::keep(root, TECHNIQUE, &measured)
}

/// The table of single rows.
fn rows(results: &Json) -> Json {
    let row = |result: &Json| {
        let number = |key: &str, digits: usize| format!("{:.digits$}", result[key].as_f64().unwrap_or(f64::NAN));
        let times = |key: &str| format!("{} ×", number(key, 1));
        json!([
            format!("{}, {}", result["vocabulary"], result["setting"].as_str().unwrap_or("?")),
            number("left", 0),
            number("llama_us", 0),
            number("chain_us", 0),
            number("flash_us", 1),
            times("llama_over_flash"),
            times("chain_over_flash"),
        ])
    };
    json!({
        "title": "One row, µs per token, medians; the ratios are medians of the rounds' ratios. Rows of a real model's \
            logits, or (where the vocabulary is another) rows with the same sorted profile.",
        "columns": [
            "vocabulary, setting", "tokens left", "llama.cpp", "chain", "flash_sampling", "llama.cpp / flash", "chain / flash"
        ],
        "rows": results.as_array().into_iter().flatten().map(row).collect::<Vec<_>>(),
    })
}

/// The table of whole answers. What a row alone saves is the least that an answer should.
fn generation(results: &Json) -> Json {
    let number = |value: &Json, digits: usize| format!("{:.digits$}", value.as_f64().unwrap_or(f64::NAN));
    let row = |result: &Json| {
        let between = &result["saved_between_us"];
        let alone = results["rows"].as_array().into_iter().flatten().rfind(|row| row["setting"] == result["setting"]);
        let saves = alone.and_then(|row| Some(row["chain_us"].as_f64()? - row["flash_us"].as_f64()?));
        let rate = |side: &str| format!("{:.2}", 1e6 / result[side]["step_us"].as_f64().unwrap_or(f64::NAN));
        json!([
            result["setting"],
            rate("off"),
            rate("on"),
            format!("{} ({} to {})", number(&result["saved_us"], 0), number(&between[0], 0), number(&between[1], 0)),
            number(&json!(saves), 0),
            number(&result["off"]["sample_us"], 0),
            number(&result["on"]["sample_us"], 0),
        ])
    };
    json!({
        "title": "Whole answers, the technique off and on in turn: tokens per second, the median of what each decoding step \
            saved (and the interval in which it lies, 95 %), what the row alone saves; and µs of each step for the \
            sampler and what comes after it.",
        "columns": ["setting", "off", "on", "µs saved", "row alone", "sampling, off", "sampling, on"],
        "rows": results["generation"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>(),
    })
}
