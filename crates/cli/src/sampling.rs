//! The sampler that the settings describe, for one model. Called by `run` for each request and by `ab`.

use std::time::{SystemTime, UNIX_EPOCH};

use chaski::Llm;
use engine::sampler::{Params, Sampler, VocabInfo, breaker_texts, breakers};
use text::Encode;

/// A sampler for one request; the clock is its seed where none was given.
pub fn sampler(llm: &Llm, params: &Params) -> anyhow::Result<Sampler> {
    let tokenizer = llm.tokenizer();
    let num_tokens = llm.vocab_size();
    let texts = breaker_texts(params);
    let found = if texts.is_empty() {
        Vec::new()
    } else {
        let piece = |id, bytes: &mut Vec<u8>| bytes.extend_from_slice(&tokenizer.piece(id, true));
        breakers(&texts, num_tokens, piece, |rest| tokenizer.encode(rest, Encode::TEXT))
    };
    let end_of_generation: Vec<u32> = tokenizer.vocab().eog().collect();
    let vocab = VocabInfo { num_tokens, end_of_generation: &end_of_generation, suppressed: &[], breakers: &found };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    Ok(llm.sampler(params, &vocab, clock)?)
}
