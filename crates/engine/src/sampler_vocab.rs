//! What a sampler must know of a model's vocabulary, read from its tokenizer: [`VocabInfo`] borrows it. Made for each
//! request, by the terminal and by the server.

use crate::sampler::{Breaker, Params, VocabInfo, breaker_texts, breakers};
use text::{Encode, Tokenizer};

/// The lists that a [`VocabInfo`] points to.
pub struct SamplerVocab {
    num_tokens: usize,
    end_of_generation: Vec<u32>,
    breakers: Vec<Breaker>,
}

impl SamplerVocab {
    /// For rows of `num_tokens` logits; DRY's breakers are looked for only where `params` switch it on.
    pub fn new(tokenizer: &Tokenizer, num_tokens: usize, params: &Params) -> Self {
        let texts = breaker_texts(params);
        let breakers = if texts.is_empty() {
            Vec::new()
        } else {
            let piece = |id, bytes: &mut Vec<u8>| bytes.extend_from_slice(&tokenizer.piece(id, true));
            breakers(&texts, num_tokens, piece, |rest| tokenizer.encode(rest, Encode::TEXT))
        };
        Self { num_tokens, end_of_generation: tokenizer.vocab().eog().collect(), breakers }
    }

    /// As the sampler takes it.
    pub fn info(&self) -> VocabInfo<'_> {
        VocabInfo {
            num_tokens: self.num_tokens,
            end_of_generation: &self.end_of_generation,
            suppressed: &[],
            breakers: &self.breakers,
        }
    }
}
