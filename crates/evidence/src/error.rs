//! What can go wrong while evidence is gathered. Returned by every fallible function of this crate.

use std::io;

/// Why a measurement has no result.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context is too short to leave a token to score in its second half.
    #[error("a context of {context} tokens leaves nothing to score; use at least {least}")]
    ContextTooShort {
        /// The context asked for, in tokens.
        context: usize,
        /// The shortest that works.
        least: usize,
    },

    /// The text does not fill the two contexts that an estimate needs.
    #[error("the text has {found} tokens; perplexity with a context of {context} needs at least {}", 2 * context)]
    TextTooShort {
        /// Tokens in the text.
        found: usize,
        /// The context asked for, in tokens.
        context: usize,
    },

    /// A token id lies outside the vocabulary.
    #[error("token {position} is {token}, but the vocabulary has {vocab_size} entries")]
    UnknownToken {
        /// Where in the text.
        position: usize,
        /// The id found there.
        token: u32,
        /// Entries in the vocabulary.
        vocab_size: usize,
    },

    /// A row of logits is not a distribution.
    #[error("chunk {chunk}, position {position}: the logits hold NaN or infinity")]
    NotFinite {
        /// 1-based, as it is printed while running.
        chunk: usize,
        /// Position in the chunk.
        position: usize,
    },

    /// The source left positions out, or handed on rows of the wrong length.
    #[error("chunk {chunk}: expected {expected} logits at position {position}, got {found}")]
    WrongRow {
        /// 1-based.
        chunk: usize,
        /// Position in the chunk.
        position: usize,
        /// Entries that were due.
        expected: usize,
        /// Entries that came.
        found: usize,
    },

    /// The model failed while it computed a chunk.
    #[error("chunk {chunk}: {source}")]
    Source {
        /// 1-based.
        chunk: usize,
        /// What the model said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The file of base distributions is not one, or is damaged.
    #[error("base distributions: {0}")]
    BadBase(String),

    /// The file of base distributions belongs to another vocabulary.
    #[error("base distributions have {base} vocabulary entries, the model has {model}")]
    OtherVocabulary {
        /// Entries in the file.
        base: usize,
        /// Entries in the model.
        model: usize,
    },

    /// Reading or writing failed.
    #[error("base distributions: {0}")]
    Io(#[from] io::Error),
}
