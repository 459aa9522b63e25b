//! Time per token of the sampler on one thread, for vocabulary sizes of real models and several chains.
//!
//! `cargo run --release -p engine --example bench_sampler`

use engine::sampler::{Candidates, Error, Params, Sampler, VocabInfo};
use std::hint::black_box;
use std::time::Instant;

/// Chains as (name, fields).
const CHAINS: &[(&str, &[(&str, &str)])] = &[
    ("default", &[]),
    ("greedy", &[("temperature", "0")]),
    (
        "all stages",
        &[
            ("repeat_penalty", "1.1"),
            ("dry_multiplier", "0.8"),
            ("top_n_sigma", "2"),
            ("typical_p", "0.95"),
            ("xtc_probability", "0.5"),
            ("dynatemp_range", "0.2"),
        ],
    ),
    ("top-p alone", &[("samplers", "top_p;temperature")]),
    ("min-p alone", &[("samplers", "min_p;temperature")]),
    ("typical alone", &[("samplers", "typ_p;temperature"), ("typical_p", "0.9")]),
    ("no filter", &[("samplers", "temperature")]),
    ("mirostat 1", &[("mirostat", "1")]),
    ("mirostat 2", &[("mirostat", "2")]),
];

const ROWS: usize = 8; // several rows in turn, so that the branch predictor learns none by heart
const TOKENS: usize = 300;

fn main() -> Result<(), Error> {
    println!("| chain | vocabulary | median us/token | candidates left |\n|---|---:|---:|---:|");
    for num_tokens in [32_000, 128_256, 151_936] {
        let rows: Vec<Vec<f32>> = (0..ROWS as u32).map(|seed| row(seed, num_tokens)).collect();
        let mut candidates = Candidates::new(num_tokens);
        for (name, fields) in CHAINS {
            let mut params = Params::default();
            for (field, value) in *fields {
                params.parse(field, value)?;
            }
            let vocab = VocabInfo { num_tokens, ..VocabInfo::default() };
            let mut sampler = Sampler::new(&params, &vocab, 1)?;
            let mut times_us = Vec::with_capacity(TOKENS);
            for step in 0..TOKENS {
                let start = Instant::now();
                let sampled = sampler.sample(&mut candidates, black_box(&rows[step % ROWS]))?;
                sampler.accept(black_box(sampled.token));
                times_us.push(start.elapsed().as_secs_f64() * 1e6);
            }
            times_us.sort_by(f64::total_cmp);
            println!("| {name} | {num_tokens} | {:.0} | {} |", times_us[TOKENS / 2], candidates.len());
        }
    }
    Ok(())
}

/// Logits shaped like a language model's: a normal body (deviation 2.5) and a few tokens far above it.
fn row(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut unit = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    let mut row: Vec<f32> = (0..len).map(|_| ((0..12).map(|_| unit()).sum::<f32>() - 6.0) * 2.5).collect();
    for _ in 0..30 {
        let token = (unit() * len as f32) as usize;
        row[token.min(len - 1)] = 10.0 + unit() * 8.0;
    }
    row
}
