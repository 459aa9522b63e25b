//! `cargo xtask bench peers`: Chaski against llama.cpp on the same files. Called by hand.
//!
//! Each group is a function from the bench to the duels to be run; the rows of a run replace those of an earlier one, so a
//! long bench can be run in pieces.

use super::chart;
use super::chaski::{Chaski, Model};
use super::duel::{Duel, Reading, Side};
use super::llama_cpp::{Isa, LlamaCpp};
use super::options::Options;
use super::results::{self, Occasion, Results};
use super::{machine, types};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use std::path::Path;

const USAGE: &str = "\
cargo xtask bench peers [GROUP] [--avx2] [flags]

GROUP: what is measured, the first when none is given
  (speed)                 pp512 and tg64 of four models
  --depth                 pp4096, and tg32 behind 4096 and 16384 tokens
  --batched               several sequences at once: 128 tokens in, 64 out
  --types                 pp512 and tg64 of one model in every type that llama-quantize makes without an importance matrix

  --avx2                  both sides without AVX-512
  --models NAME|FILE,…    as `chaski pull` calls them, or GGUF files
  --tests pp512,tg64,…    other tests than the group's own; tg32@d4096 is one behind 4096 tokens
  --kv TYPE|OURS:THEIRS,… types of the KV cache (default: f16)
  --npl N,…               other numbers of sequences for --batched (default: 1,4,8,16)
  --rounds N              times each side is run (default: 5)
  --more                  add these rounds to those measured with the same programs
  --threads N             (default: one per core)
  --llama DIR             a build of llama.cpp (with --avx2: one without AVX-512); by default its source is fetched with pip
                          and built once, in the user's cache
  --chaski FILE           a built chaski; by default this checkout's, built
  --commit NAME           what that file was built from
  --out DIR               where peers.json, peers.md and peers.svg go (default: docs/generated)";

const MODELS: &[&str] = &["smollm2", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"];
/// Deep contexts take minutes a round.
const DEEP_MODELS: &[&str] = &["smollm2", "qwen2.5-coder-0.5b"];
/// Its rows are whole super-blocks of 256, so that each type can be made of every matrix.
const TYPES_MODEL: &[&str] = &["qwen2.5-coder-1.5b"];

const SPEED_TESTS: &[&str] = &["pp512", "tg64"];
const DEPTH_TESTS: &[&str] = &["pp4096", "tg32@d4096", "tg32@d16384"];

/// Of the batched bench: tokens in and out of each sequence, and how many sequences there are.
const BATCHED: (usize, usize, &[usize]) = (128, 64, &[1, 4, 8, 16]);

/// What all duels of a run have in common.
struct Bench<'a> {
    options: &'a Options,
    chaski: Chaski,
    llama: LlamaCpp,
    threads: usize,
}

/// Measures what the arguments ask for, writes the results and prints their table.
pub fn run(root: &Path, args: &[&str]) -> Result<()> {
    if args.iter().any(|arg| matches!(*arg, "help" | "--help" | "-h")) {
        println!("{USAGE}");
        return Ok(());
    }
    let switches = ["--depth", "--batched", "--types", "--avx2"];
    let options = Options::parse(root, args, &switches).with_context(|| format!("\n{USAGE}\n"))?;
    let isa = if options.has("--avx2") { Isa::Avx2 } else { Isa::Native };
    let chaski = Chaski::get(root, &options)?;
    let llama = LlamaCpp::get(&options, isa)?;
    let machine = machine::describe(&chaski)?;
    let cores = machine["num_cores"].as_u64().unwrap_or(1) as usize;
    let threads = if options.threads == 0 { cores } else { options.threads };
    let bench = Bench { options: &options, chaski, llama, threads };
    let duels = bench.duels()?;
    let occasion = Occasion {
        date: machine::date()?,
        chaski: bench.chaski.version.clone(),
        peer: bench.llama.version(),
        threads,
        load: machine::load(),
        read_gbps: machine["ceilings"]["read_gbps"].as_f64(),
    };
    let mut results = Results::read(&options.out, "peers", machine)?;
    let mut failed = Vec::new();
    for duel in duels {
        let mut more = options.more;
        let fought = duel.fight(options.rounds, |rows| {
            results.enter(&occasion, rows, more);
            more = true;
            results.write(&options.out, PREFACE)?;
            chart::write(&options.out.join("peers.svg"), &results)
        });
        match fought {
            Ok(()) => {
                println!("{}", results::table(results.group(&duel.group).filter(|(_, row)| row.model == duel.model)))
            }
            Err(error) => {
                eprintln!("{}, {}{}: {error:#}", duel.group, duel.model, duel.setting);
                failed.push(format!("{}, {}{}", duel.group, duel.model, duel.setting));
            }
        }
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
    Ok(())
}

const PREFACE: &str = "\
# Chaski and llama.cpp side by side

Tokens per second. Both programs ran in turn on the same files; the ratio is the median of the rounds' ratios, and the
spread is where that median lies (of five rounds: the least and the greatest). llama.cpp ran with flash attention on.
\"Of memory\" is the rate at which Chaski read its weights, as a share of the rate at which memory could be read then.
`cargo xtask bench peers` prints these tables and writes this page; `--depth`, `--batched`, `--types` and `--avx2` choose
the group.

![How many times as fast as llama.cpp](peers.svg)
";

impl Bench<'_> {
    fn duels(&self) -> Result<Vec<Duel>> {
        let mut duels = Vec::new();
        let asked: Vec<&str> = self.options.switches.iter().copied().filter(|switch| *switch != "--avx2").collect();
        if asked.is_empty() {
            duels.extend(self.speed("Speed", MODELS, SPEED_TESTS)?);
        }
        for group in asked {
            duels.extend(match group {
                "--depth" => self.speed("Deep context", DEEP_MODELS, DEPTH_TESTS)?,
                "--batched" => self.batched()?,
                _ => self.types()?,
            });
        }
        Ok(duels)
    }

    fn models(&self, usual: &[&str]) -> Result<Vec<Model>> {
        let given: Vec<&str> = self.options.models.iter().map(String::as_str).collect();
        let names = if given.is_empty() { usual } else { &given };
        names.iter().map(|name| self.chaski.model(name)).collect()
    }

    /// Tests of llama-bench, in one run of it for each depth.
    fn speed(&self, group: &str, models: &[&str], tests: &[&str]) -> Result<Vec<Duel>> {
        let depths = self.tests(tests)?;
        let mut duels = Vec::new();
        for model in self.models(models)? {
            for tests in &depths {
                for kv in &self.options.kv {
                    duels.push(self.bench(group, &model, tests, kv)?);
                }
            }
        }
        Ok(duels)
    }

    /// The tests to run, those of one depth together.
    fn tests(&self, usual: &[&str]) -> Result<Vec<Tests>> {
        let given: Vec<&str> = self.options.tests.iter().map(String::as_str).collect();
        let mut all: Vec<Tests> = Vec::new();
        for test in if given.is_empty() { usual } else { &given } {
            let (name, depth) = test.split_once("@d").unwrap_or((test, "0"));
            let kind = name.get(..2).unwrap_or("");
            let count = name.get(2..).unwrap_or("").parse::<usize>().ok().filter(|count| *count > 0);
            let (Some(count), Ok(depth), "pp" | "tg") = (count, depth.parse::<usize>(), kind) else {
                bail!("--tests: `{test}` is no test; write pp512, tg64 or tg32@d4096");
            };
            let at = all.iter().position(|tests| tests.depth == depth).unwrap_or_else(|| {
                all.push(Tests { depth, ..Tests::default() });
                all.len() - 1
            });
            if kind == "pp" { &mut all[at].prompts } else { &mut all[at].gens }.push(count);
        }
        Ok(all)
    }

    fn bench(&self, group: &str, model: &Model, tests: &Tests, kv: &(String, String)) -> Result<Duel> {
        let mut args =
            words(&["-m", &model.file, "-r", "1", "-fa", "1", "-o", "jsonl", "-d", &tests.depth.to_string()]);
        args.extend(words(&["-p", &numbers(&tests.prompts), "-n", &numbers(&tests.gens)]));
        args.extend(words(&["-t", &self.threads.to_string()]));
        let theirs = self.llama.tool("llama-bench")?;
        let duel = self.duel(group, model, kv, args.clone(), args, theirs, single);
        // Behind a deep context the cache is read too.
        let bound_by_memory = tests.depth == 0 && !tests.gens.is_empty();
        let token_bytes = if bound_by_memory { self.token_bytes(model)? } else { None };
        Ok(Duel { token_bytes, ..duel })
    }

    /// Bytes of weights that Chaski reads for a token, by its own counters; `None` where it has none.
    fn token_bytes(&self, model: &Model) -> Result<Option<f64>> {
        let words = ["bench", "-m", &model.file, "-p", "0", "-n", "1", "-r", "1", "--ops", "-o", "json"];
        let rows = self.chaski.ask_json(&words)?;
        let ops = rows[0]["ops"].as_array().into_iter().flatten();
        let products =
            ops.filter(|op| op["regime"] == "decode" && op["op"].as_str().is_some_and(|op| op.starts_with("matmul")));
        let per_step = |op: &Json| Some(op["bytes"].as_f64()? / op["steps"].as_f64()?);
        let bytes: f64 = products.filter_map(per_step).sum();
        Ok((bytes > 0.0).then_some(bytes))
    }

    /// Tests of llama-batched-bench.
    fn batched(&self) -> Result<Vec<Duel>> {
        let (prompt, generate, usual) = BATCHED;
        let parallel = if self.options.parallel.is_empty() { usual } else { &self.options.parallel };
        let most = parallel.iter().max().copied().unwrap_or(1) * (prompt + generate);
        let mut duels = Vec::new();
        for model in self.models(MODELS)? {
            for kv in &self.options.kv {
                let mut ours = words(&["-m", &model.file, "-npp", &prompt.to_string(), "-ntg", &generate.to_string()]);
                ours.extend(words(&["-npl", &numbers(parallel), "-t", &self.threads.to_string()]));
                let mut theirs = ours.clone();
                ours.extend(words(&["-o", "jsonl"]));
                theirs.extend(words(&["-c", &most.to_string(), "-fa", "on", "--output-format", "jsonl"]));
                let tool = self.llama.tool("llama-batched-bench")?;
                duels.push(self.duel("Several sequences", &model, kv, ours, theirs, tool, several));
            }
        }
        Ok(duels)
    }

    /// One model in many types.
    fn types(&self) -> Result<Vec<Duel>> {
        let quantize = self.llama.tool("llama-quantize")?;
        let tests = self.tests(SPEED_TESTS)?;
        let mut duels = Vec::new();
        for model in self.models(TYPES_MODEL)? {
            for typed in types::make(&self.chaski, &quantize, &model)? {
                for tests in &tests {
                    for kv in &self.options.kv {
                        duels.push(self.bench("Types", &typed, tests, kv)?);
                    }
                }
            }
        }
        Ok(duels)
    }

    #[expect(clippy::too_many_arguments, reason = "the two sides of one comparison")]
    fn duel(
        &self,
        group: &str,
        model: &Model,
        kv: &(String, String),
        ours: Vec<String>,
        theirs: Vec<String>,
        tool: std::path::PathBuf,
        read: fn(&str) -> Result<Vec<Reading>>,
    ) -> Duel {
        let cache = |kv: &String| words(&["-ctk", kv, "-ctv", kv]);
        let mut ours = [ours, cache(&kv.0)].concat();
        let setting = match kv {
            (ours, theirs) if ours != theirs => format!(", KV {ours} : {theirs}"),
            (both, _) if both != "f16" => format!(", KV {both}"),
            _ => String::new(),
        };
        if self.options.has("--avx2") {
            ours.extend(words(&["--isa", "avx2"]));
        }
        let theirs = Side { program: tool, args: [theirs, cache(&kv.1)].concat(), read };
        let group = if self.options.has("--avx2") { format!("{group}, AVX2") } else { group.to_owned() };
        let ours = self.chaski.bench(&ours, read);
        Duel { group, model: model.name.clone(), setting, token_bytes: None, ours, theirs }
    }
}

/// What llama-bench is to run behind one depth of context.
#[derive(Debug, Default, PartialEq)]
struct Tests {
    depth: usize,
    prompts: Vec<usize>,
    gens: Vec<usize>,
}

/// A line of llama-bench.
fn single(output: &str) -> Result<Vec<Reading>> {
    rows(output, |row| {
        let count = |key: &str| row[key].as_u64();
        let name = match (count("n_prompt")?, count("n_gen")?) {
            (prompt, 0) => format!("pp{prompt}"),
            (_, generate) => format!("tg{generate}"),
        };
        let depth = count("n_depth")?;
        let test = if depth > 0 { format!("{name} @ d{depth}") } else { name };
        Some(vec![Reading { test, rate: row["avg_ts"].as_f64()? }])
    })
}

/// A line of llama-batched-bench.
fn several(output: &str) -> Result<Vec<Reading>> {
    rows(output, |row| {
        let num = row["pl"].as_u64()?;
        let reading =
            |name: &str, key: &str| Some(Reading { test: format!("{name} × {num}"), rate: row[key].as_f64()? });
        Some(vec![reading("S_PP", "speed_pp")?, reading("S_TG", "speed_tg")?])
    })
}

/// Every line that is an object.
fn rows(output: &str, read: impl Fn(&Json) -> Option<Vec<Reading>>) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let row: Json = serde_json::from_str(line).with_context(|| line.to_owned())?;
        readings.extend(read(&row).with_context(|| format!("fields are missing in {line}"))?);
    }
    ensure!(!readings.is_empty(), "no results in it");
    Ok(readings)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A list for a flag; `0` for none.
fn numbers(numbers: &[usize]) -> String {
    if numbers.is_empty() { "0".into() } else { numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_benches_are_read() {
        let text = "noise\n{\"n_prompt\": 512, \"n_gen\": 0, \"n_depth\": 0, \"avg_ts\": 100.5}\n\
                    {\"n_prompt\": 0, \"n_gen\": 32, \"n_depth\": 4096, \"avg_ts\": 7.0}\n";
        let readings = single(text).unwrap();
        assert_eq!(readings[0], Reading { test: "pp512".into(), rate: 100.5 });
        assert_eq!(readings[1].test, "tg32 @ d4096");
        let readings = several("{\"pl\": 8, \"speed_pp\": 1.0, \"speed_tg\": 2.0}").unwrap();
        assert_eq!(readings[1], Reading { test: "S_TG × 8".into(), rate: 2.0 });
        assert!(single("nothing").is_err() && several("{\"pl\": 8}").is_err());
    }
}
