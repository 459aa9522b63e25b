//! OpenAI's API. Rooms to come: the Responses API and tools.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod models;

use engine::sequence::FinishReason;
use serde_json::{Value, json};

use crate::convert::limited_text::TEXT_LIMIT;
use crate::generate::{Answer, Ask};

/// Why an answer ended.
fn finish_reason(answer: &Answer) -> &'static str {
    match answer.end.map(|end| end.reason) {
        Some(FinishReason::Eos) => "stop",
        Some(FinishReason::Stop(index)) if index != TEXT_LIMIT => "stop",
        _ => "length",
    }
}

/// Tokens of all answers; a prompt counts once, however many answers it has.
fn usage(ask: &Ask, answers: &[Answer]) -> Value {
    let ends = || answers.iter().filter_map(|answer| Some((answer, answer.end?)));
    let choices = ask.options().num_choices.max(1) as usize;
    let firsts = || ends().filter(|(answer, _)| answer.index % choices == 0);
    let prompt: u64 = firsts().map(|(_, end)| u64::from(end.usage.num_prompt)).sum();
    let cached: u64 = firsts().map(|(_, end)| u64::from(end.usage.num_cached)).sum();
    let completion: u64 = ends().map(|(_, end)| u64::from(end.usage.num_generated)).sum();
    json!({
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}
