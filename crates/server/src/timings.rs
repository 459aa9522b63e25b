//! The `timings` object that llama-server adds to answers, of either API.

use std::time::Instant;

use serde_json::{Value, json};

use crate::generate::{Answer, Ask};

/// Of an answer: as it ended, or as far as it is.
pub fn timings(ask: &Ask, answer: &Answer) -> Value {
    let prompt_len = ask.job.prompts.get(answer.prompt).map_or(0, Vec::len) as u32;
    match &answer.end {
        Some(end) => {
            let usage = &end.usage;
            let (prompt_us, generation_us) = (end.timings.prompt_us, end.timings.generation_us);
            shown(usage.num_cached, usage.num_prompt - usage.num_cached, prompt_us, usage.num_generated, generation_us)
        }
        None => {
            let us = |from: Option<Instant>, to: Instant| from.map_or(0, |from| (to - from).as_micros() as u64);
            let now = Instant::now();
            let prompt_us = us(answer.submitted, answer.first_token.unwrap_or(now));
            let computed = if answer.first_token.is_some() { prompt_len } else { answer.num_computed };
            let processed = computed.saturating_sub(answer.num_cached);
            shown(answer.num_cached, processed, prompt_us, answer.tokens.len() as u32, us(answer.first_token, now))
        }
    }
}

fn shown(cached: u32, prompt: u32, prompt_us: u64, predicted: u32, predicted_us: u64) -> Value {
    // The first token comes out of the prompt's last step.
    let steps = predicted.saturating_sub(1);
    json!({
        "cache_n": cached,
        "prompt_n": prompt,
        "prompt_ms": ms(prompt_us),
        "prompt_per_token_ms": ratio(ms(prompt_us), prompt),
        "prompt_per_second": rate(prompt, prompt_us),
        "predicted_n": predicted,
        "predicted_ms": ms(predicted_us),
        "predicted_per_token_ms": ratio(ms(predicted_us), steps),
        "predicted_per_second": rate(steps, predicted_us),
    })
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn ratio(ms: f64, count: u32) -> f64 {
    if count == 0 { 0.0 } else { ms / f64::from(count) }
}

fn rate(count: u32, us: u64) -> f64 {
    if us == 0 { 0.0 } else { f64::from(count) * 1e6 / us as f64 }
}
