//! Flags of `bench` alone, with llama-bench's names. Lists are measured in every combination.

use super::compute::{MOST_THREADS, MOST_TOKENS, cache_type};
use super::{Flag, Given, Group};
use crate::command::Commands;
use crate::settings::Format;
use chaski::{MIXES, SHAPES};
use kernels::KvType;

const GROUP: Group = Group::Command;
const BENCH: Commands = Commands::BENCH;

pub const FLAGS: &[Flag] = &[
    Flag::value(
        &["-m", "--model"],
        "MODEL,…",
        "paths of GGUF files, names from `chaski models`, or hf:owner/repo:file",
    )
    .env("LLAMA_ARG_MODEL")
    .on(Group::Model, BENCH)
    .set(|s, g| {
        s.bench.models.extend(g.filled()?.split(',').map(str::to_owned));
        Ok(())
    }),
    Flag::value(
        &["--shape"],
        "NAME",
        "in place of a model: one of this shape, with weights made up in the GPU's memory: llama-3-8b, llama-3-70b, \
         llama-3.2-1b, qwen2.5-7b or smollm2-135m",
    )
    .on(GROUP, BENCH)
    .set(|s, g| {
        let named = SHAPES.iter().map(|shape| (shape.name, Some(shape))).collect::<Vec<_>>();
        s.bench.shape = g.choice(&named)?;
        Ok(())
    }),
    Flag::value(
        &["--quant"],
        "TYPE",
        "types of a shape's weights, as llama-quantize mixes them: q4_0, q4_1, q5_0, q8_0, q4_k_m (default), q5_k_m, \
         q6_k, f16 or bf16; or one type throughout: q2_k, q3_k, iq1_s to iq4_xs, tq1_0 or tq2_0",
    )
    .on(GROUP, BENCH)
    .set(|s, g| {
        let named = MIXES.iter().map(|mix| (mix.0, Some(*mix))).collect::<Vec<_>>();
        s.bench.mix = g.choice(&named)?;
        Ok(())
    }),
    Flag::value(&["-p", "--n-prompt"], "N,…", "prompt lengths (default: 512; 0: none)").on(GROUP, BENCH).set(|s, g| {
        s.bench.prompts.extend(g.numbers(0..=MOST_TOKENS)?);
        Ok(())
    }),
    Flag::value(
        &["-n", "--n-gen"],
        "N,…",
        "tokens to generate (default: 128; 0: none); a GPU finds each one's most likely successor, as for a greedy \
         answer, and hands out no logits; on the CPU nobody samples",
    )
    .on(GROUP, BENCH)
    .set(|s, g| {
        s.bench.gens.extend(g.numbers(0..=MOST_TOKENS)?);
        Ok(())
    }),
    Flag::value(&["-pg"], "PP,TG", "a prompt and its generation measured as one; may be given several times")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.pairs.push(pair(g)?);
            Ok(())
        }),
    Flag::value(&["-d", "--n-depth"], "N,…", "tokens in the context before the clock starts (default: 0)")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.depths.extend(g.numbers(0..=MOST_TOKENS)?);
            Ok(())
        }),
    Flag::value(&["-b", "--batch-size"], "N,…", "most tokens of a prompt handed over at once (default: 2048)")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.batches.extend(g.numbers(1..=MOST_TOKENS)?);
            Ok(())
        }),
    Flag::value(&["-ub", "--ubatch-size"], "N,…", "most tokens computed in one step (default: 512)")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.ubatches.extend(g.numbers(1..=MOST_TOKENS)?);
            Ok(())
        }),
    Flag::value(&["-t", "--threads"], "N,…", "threads (default: one per physical core)").on(GROUP, BENCH).set(
        |s, g| {
            s.bench.threads.extend(g.numbers(1..=MOST_THREADS)?);
            Ok(())
        },
    ),
    Flag::value(&["-ctk", "--cache-type-k"], "TYPE,…", "how keys are cached: f16 (default) or f32")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.kv_types_k.extend(cache_types(g)?);
            Ok(())
        }),
    Flag::value(&["-ctv", "--cache-type-v"], "TYPE,…", "how values are cached: f16 (default) or f32")
        .on(GROUP, BENCH)
        .set(|s, g| {
            s.bench.kv_types_v.extend(cache_types(g)?);
            Ok(())
        }),
    Flag::value(&["-npp"], "N,…", "several sequences: tokens of each prompt").on(GROUP, BENCH).set(|s, g| {
        s.bench.batched.prompts.extend(g.numbers(1..=MOST_TOKENS)?);
        Ok(())
    }),
    Flag::value(&["-ntg"], "N,…", "several sequences: tokens generated for each, as by -n").on(GROUP, BENCH).set(
        |s, g| {
            s.bench.batched.gens.extend(g.numbers(0..=MOST_TOKENS)?);
            Ok(())
        },
    ),
    Flag::value(&["-npl"], "N,…", "several sequences: how many at once").on(GROUP, BENCH).set(|s, g| {
        s.bench.batched.parallel.extend(g.numbers(1..=MOST_SEQUENCES)?);
        Ok(())
    }),
    Flag::switch(&["-pps"], "several sequences: they share one prompt").on(GROUP, BENCH).set(|s, _| {
        s.bench.batched.shared = true;
        Ok(())
    }),
    Flag::switch(&["-tgs"], "several sequences: generate for one after the other").on(GROUP, BENCH).set(|s, _| {
        s.bench.batched.separate = true;
        Ok(())
    }),
    Flag::value(
        &["-c", "--ctx-size"],
        "N",
        "several sequences: leave out what needs more tokens (default: 0, no limit)",
    )
    .on(GROUP, BENCH)
    .set(|s, g| {
        s.bench.batched.context = g.number(0..=MOST_TOKENS)?;
        Ok(())
    }),
    Flag::value(&["-r", "--repetitions"], "N", "times each test is measured (default: 5)").on(GROUP, BENCH).set(
        |s, g| {
            s.bench.repetitions = Some(g.number(1..=100_000)?);
            Ok(())
        },
    ),
    Flag::value(&["-o", "--output", "--output-format"], "md|json|jsonl|csv", "shape of the output (default: md)")
        .on(GROUP, BENCH)
        .set(|s, g| {
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
        }),
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

/// More sequences than anybody runs at once; a larger number is a typing error.
const MOST_SEQUENCES: usize = 4096;

fn cache_types(given: &Given<'_>) -> Result<Vec<KvType>, String> {
    given.text.split(',').map(|text| cache_type(&Given { text, on: given.on })).collect()
}

fn pair(given: &Given<'_>) -> Result<(usize, usize), String> {
    match given.numbers(0..=MOST_TOKENS)?[..] {
        [prompt, generate] => Ok((prompt, generate)),
        _ => Err(format!("expected two numbers, PP,TG, got `{}`", given.text)),
    }
}
