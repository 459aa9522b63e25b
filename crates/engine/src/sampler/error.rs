//! What can go wrong between a user's sampling parameters and a sampled token.

/// An error of the sampler; every message names the parameter, the token or the logits row it is about.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No stage declares a parameter of this name.
    #[error("unknown sampling parameter `{field}`")]
    UnknownParam {
        /// The name as it was given.
        field: String,
    },
    /// The value has the right type and lies outside what the parameter allows.
    #[error("{param}: {value} is out of range, allowed: {range}")]
    OutOfRange {
        /// Field and flag, as in `top_p (--top-p)`.
        param: String,
        /// The value as it was given.
        value: String,
        /// The allowed range in words.
        range: String,
    },
    /// The value cannot be read as the parameter's type.
    #[error("{param}: expected {expected}, got {value}")]
    WrongType {
        /// Field and flag, as in `top_k (--top-k)`.
        param: String,
        /// What would be accepted.
        expected: String,
        /// The value as it was given.
        value: String,
    },
    /// A stage named in `--samplers` (or lettered in `--sampler-seq`) does not exist here.
    #[error("{param}: no sampler is called `{name}`; there are: {known}")]
    UnknownStage {
        /// Field and flag.
        param: String,
        /// The name or letter as it was given.
        name: String,
        /// Every name and letter that is accepted.
        known: String,
    },
    /// A token id that the vocabulary does not have.
    #[error("{what}: token {token} is outside the vocabulary of {num_tokens} tokens")]
    TokenOutOfVocab {
        /// Who named the token.
        what: &'static str,
        /// The token id.
        token: u32,
        /// Size of the vocabulary.
        num_tokens: usize,
    },
    /// The row of logits does not have one entry per token.
    #[error("the row has {len} logits, the vocabulary {num_tokens} tokens")]
    RowLength {
        /// Entries in the row.
        len: usize,
        /// Size of the vocabulary.
        num_tokens: usize,
    },
    /// The model produced NaN or +infinity.
    #[error("the logit of token {token} is {value}")]
    BadLogit {
        /// The first such token.
        token: u32,
        /// Its logit.
        value: f32,
    },
    /// Every token has been excluded: all logits are -infinity.
    #[error("no token can be sampled: the logits of all {num_tokens} tokens are -infinity")]
    NothingLeft {
        /// Size of the vocabulary.
        num_tokens: usize,
    },
    /// More tokens are to be taken back than were accepted.
    #[error("cannot roll back {asked} tokens: only {accepted} were accepted")]
    RollbackTooFar {
        /// Tokens to take back.
        asked: usize,
        /// Tokens accepted so far.
        accepted: usize,
    },
}
