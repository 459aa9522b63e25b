//! How good a plan's distributions are, scored over a text exactly as llama.cpp's `llama-perplexity` does, so that the
//! figures can be compared to the last digit and the files exchanged. Called by the `perplexity` and `ab` commands.
//!
//! The text is cut into chunks of `context` tokens. Each chunk is evaluated on its own, its first token replaced by BOS
//! where the vocabulary asks for one; its first half is context only, and each position of the second half but the
//! last is scored by the probability it gave to the token that follows.

mod base;
mod divergence;
mod fidelity;
mod perplexity;
mod report;
mod softmax;

pub use base::{BaseReader, BaseWriter};
pub use divergence::divergence;
pub use fidelity::{Fidelity, Quality, SourceName, fidelity};
pub use perplexity::{Perplexity, perplexity};
pub use report::{Estimate, Percentiles, RUNNING_HEAD, Report, Running};

use crate::Error;

/// Something that turns tokens into logits: an engine with a plan, or another program.
pub trait LogitsSource {
    /// The number of logits in a row.
    fn vocab_size(&self) -> usize;

    /// Evaluates one chunk from an empty cache and hands `(position, logits)` to `sink` for each position from
    /// `first_scored` on, in order. Rows after the last one that counts may be left out.
    fn eval_chunk(
        &mut self,
        tokens: &[u32],
        first_scored: usize,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// How a text is cut into chunks.
#[derive(Clone, Copy, Debug)]
pub struct Chunking {
    /// Tokens in a chunk.
    pub context: usize,
    /// The most chunks to score; all that the text fills where absent.
    pub max_chunks: Option<usize>,
    /// What stands in place of each chunk's first token, for vocabularies that begin every text with BOS.
    pub bos: Option<u32>,
}

/// A text of this project's own, for measurements that are to need no file: prose, talk, directions, lists, a table, some
/// code. It stands in no other collection, so that no model knows it by heart.
pub const TEXT: &str = include_str!("../data/text.txt");

/// The shortest context whose second half holds a position and its follower.
const LEAST_CONTEXT: usize = 3;

impl Chunking {
    /// The first position of a chunk that is scored.
    fn first_scored(&self) -> usize {
        self.context / 2
    }

    /// Scored positions in a chunk.
    fn num_scored(&self) -> usize {
        self.context - 1 - self.first_scored()
    }

    fn check(&self) -> Result<(), Error> {
        if self.context < LEAST_CONTEXT {
            return Err(Error::ContextTooShort { context: self.context, least: LEAST_CONTEXT });
        }
        Ok(())
    }
}

/// What is done with each scored row: its logits and the token that followed.
type ScoreRow<'a> = dyn FnMut(&[f32], u32) -> Result<(), RowError> + 'a;

/// Evaluates one chunk (0-based) and hands each scored row to `score` with the token that followed it.
fn eval_scored(
    source: &mut dyn LogitsSource,
    chunking: &Chunking,
    chunk: usize,
    tokens: &[u32],
    score: &mut ScoreRow<'_>,
) -> Result<(), Error> {
    let (vocab_size, chunk_number) = (source.vocab_size(), chunk + 1);
    let mut input = tokens.to_vec();
    if let (Some(bos), Some(first)) = (chunking.bos, input.first_mut()) {
        *first = bos;
    }
    let mut due = chunking.first_scored();
    let end = due + chunking.num_scored();
    let mut failure = None;
    let mut sink = |position: usize, logits: &[f32]| {
        if position >= end || failure.is_some() {
            return;
        }
        if position != due || logits.len() != vocab_size {
            let found = if position == due { logits.len() } else { 0 };
            failure = Some(Error::WrongRow { chunk: chunk_number, position: due, expected: vocab_size, found });
            return;
        }
        match score(logits, tokens[position + 1]) {
            Ok(()) => due += 1,
            Err(RowError::NotFinite) => failure = Some(Error::NotFinite { chunk: chunk_number, position }),
            Err(RowError::Other(error)) => failure = Some(error),
        }
    };
    let outcome = source.eval_chunk(&input, chunking.first_scored(), &mut sink);
    outcome.map_err(|source| Error::Source { chunk: chunk_number, source })?;
    match failure {
        Some(error) => Err(error),
        None if due < end => {
            Err(Error::WrongRow { chunk: chunk_number, position: due, expected: vocab_size, found: 0 })
        }
        None => Ok(()),
    }
}

/// Why one row could not be scored; the place is added by [`eval_scored`].
enum RowError {
    NotFinite,
    Other(Error),
}

impl From<Error> for RowError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Refuses ids that would index outside a row.
fn check_tokens(tokens: &[u32], vocab_size: usize) -> Result<(), Error> {
    match tokens.iter().position(|token| *token as usize >= vocab_size) {
        Some(position) => Err(Error::UnknownToken { position, token: tokens[position], vocab_size }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
