//! The sampler that the settings describe, for one model. Called by `run` for each request and by `ab`.

use std::time::{SystemTime, UNIX_EPOCH};

use chaski::Llm;
use engine::SamplerVocab;
use engine::sampler::{Params, Sampler};

/// A sampler for one request; the clock is its seed where none was given.
pub fn sampler(llm: &Llm, params: &Params) -> anyhow::Result<Sampler> {
    let vocab = SamplerVocab::new(llm.tokenizer(), llm.vocab_size(), params);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    Ok(llm.sampler(params, &vocab.info(), clock)?)
}
