//! What a client asks for: one request, whatever the door it came through.
//!
//! Made by the server, the CLI and the library from their own forms; text is encoded before and decoded
//! behind [`Detokenize`], so that the engine itself deals in token ids alone.

use crate::sampler::{Sampler, TokenSet};
use std::sync::Arc;

/// A prompt and how to go on from it.
pub struct Request {
    /// Token ids of the prompt, at least one.
    pub prompt: Vec<u32>,
    /// Picks the tokens. It has not yet seen the prompt: the engine shows it.
    pub sampler: Sampler,
    /// Makes text of the tokens, and watches for stop strings.
    pub detokenizer: Box<dyn Detokenize>,
    /// What the answer must look like.
    pub constraint: Option<Box<dyn Constrain>>,
    /// Tokens that end the answer; empty to ignore end-of-generation tokens.
    pub stop_tokens: Arc<[u32]>,
    /// Most tokens to generate; `None`: until something else ends it.
    pub max_new_tokens: Option<u32>,
    /// What to do when the context is full.
    pub when_full: WhenFull,
    /// Whether what the cache holds of the prompt may be used. It never is when the prompt is scored.
    pub cache_prompt: bool,
    /// What the client is told beside the answer.
    pub report: Report,
}

/// What a client wants to know beside the answer. Nothing by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// How far the prompt is, after every step that computed a part of it.
    pub progress: bool,
    /// The log-probability of every token of the prompt but the first, with this many likeliest ones.
    pub prompt_scores: Option<u32>,
    /// The probability of every token of the answer.
    pub scores: Option<Scores>,
    /// The vector of the prompt.
    pub embedding: Option<Pooling>,
}

/// How the vectors of a prompt's tokens become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    Cls,
    /// That of the last token.
    Last,
}

/// How tokens of the answer are scored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scores {
    /// How many of the likeliest tokens are told too.
    pub top: u32,
    /// Probabilities that the sampler chain left, instead of log-probabilities of the model.
    pub after_sampling: bool,
}

/// What happens when prompt and answer together fill the context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenFull {
    /// The answer ends there.
    #[default]
    Stop,
    /// Half of what follows the first `keep` tokens is discarded and the rest moves up.
    Shift {
        /// Tokens at the beginning that always stay.
        keep: u32,
    },
}

/// Makes text of one sequence's tokens, piece by piece.
pub trait Detokenize: Send {
    /// Takes the next token and appends to `piece` the text that is now certain: whole characters, and no
    /// possible beginning of a stop string. When a stop string is complete, its place in the list; it and
    /// what follows are left out.
    fn push(&mut self, token: u32, piece: &mut String) -> Option<u32>;

    /// Appends what was held back, at the end of the answer.
    fn finish(&mut self, piece: &mut String);
}

/// Says which tokens an answer may go on with. Works on another thread than the engine's, beside the steps; its errors
/// are told to the client.
pub trait Constrain: Send {
    /// Leaves in `tokens` those that may come next. Tokens that end the answer are among them where it is whole.
    fn allowed(&mut self, tokens: &mut TokenSet) -> Result<(), String>;

    /// Takes one of these tokens.
    fn accept(&mut self, token: u32) -> Result<(), String>;
}

/// For those who want token ids only.
pub struct NoText;

impl Detokenize for NoText {
    fn push(&mut self, _: u32, _: &mut String) -> Option<u32> {
        None
    }

    fn finish(&mut self, _: &mut String) {}
}
