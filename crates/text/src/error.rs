//! Everything that can go wrong in this crate, naming the thing that is wrong.

/// Why a tokenizer could not be built or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file carries no such key.
    #[error("metadata key {key} is missing: the file holds no tokenizer (was it written with its vocabulary?)")]
    MissingKey {
        /// The metadata key.
        key: &'static str,
    },
    /// A key has another type than a tokenizer needs.
    #[error(transparent)]
    Metadata(#[from] gguf::Error),
    /// `tokenizer.ggml.model` names a tokenizer that is not implemented.
    #[error("tokenizer model `{model}` is not supported (supported: gpt2, gemma4, whitespace, llama)")]
    UnsupportedModel {
        /// The name in the file.
        model: String,
    },
    /// `tokenizer.ggml.pre` is not a known name.
    #[error("unknown pre-tokenizer `{name}` in tokenizer.ggml.pre")]
    UnknownPreTokenizer {
        /// The name in the file.
        name: String,
    },
    /// A pattern of the built-in table does not compile.
    #[error("pre-tokenizer `{name}`: {reason}")]
    Pattern {
        /// The pre-tokenizer.
        name: String,
        /// What the pattern engine refused.
        reason: String,
    },
    /// An array that goes with the tokens is shorter than they are.
    #[error("metadata key {key}: {found} elements for {expected} tokens")]
    Length {
        /// The metadata key.
        key: &'static str,
        /// Number of tokens.
        expected: usize,
        /// Number of elements.
        found: usize,
    },
    /// An array has no elements, or more than ids can count.
    #[error("metadata key {key}: {found} elements (1 to {most} are supported)")]
    Count {
        /// The metadata key.
        key: &'static str,
        /// Number of elements.
        found: usize,
        /// The most that are supported.
        most: usize,
    },
    /// An array of strings is longer than offsets of 32 bits reach.
    #[error("metadata key {key}: more than 4 GiB of text")]
    TooLong {
        /// The metadata key.
        key: &'static str,
    },
    /// Two tokens are spelled alike.
    #[error("tokens {first} and {second} are both `{text}`")]
    DuplicateToken {
        /// The spelling.
        text: String,
        /// The id that came first.
        first: u32,
        /// The id that came second.
        second: u32,
    },
    /// A key names a token that the vocabulary does not have.
    #[error("metadata key {key}: token id {id} is out of range, the vocabulary has {num_tokens} tokens")]
    SpecialToken {
        /// The metadata key.
        key: &'static str,
        /// The id in the file.
        id: u32,
        /// Number of tokens.
        num_tokens: usize,
    },
    /// A caller passed an id that the vocabulary does not have.
    #[error("token id {id} is out of range, the vocabulary has {num_tokens} tokens")]
    TokenId {
        /// The id.
        id: u32,
        /// Number of tokens.
        num_tokens: usize,
    },
}
