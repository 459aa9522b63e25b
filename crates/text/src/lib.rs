//! Text to token ids and back: the vocabularies, tokenizers and detokenizers of GGUF models, and
//! their chat templates.
//!
//! Floor 1 of the house, above `gguf` alone. Everything works on bytes: a text need not be UTF-8,
//! a token may be half a character.
//!
//! | module | what it holds |
//! |---|---|
//! | [`vocab`] | tokens, their kinds and special roles |
//! | [`tokenizer`] | [`Tokenizer`]: `encode`, `piece`, `detokenize` |
//! | [`detokenizer`] | whole characters out of a stream of tokens |
//! | [`grammar`] | what an answer may go on with under a grammar or a schema |
//! | [`template`] | chat templates: a conversation to a prompt |
//! | [`stop`] | stop strings that may lie across pieces |
//! | `special`, `pretokenizer`, `bpe` or `spm`, `chain` | the steps of `encode`, in this order |
#![forbid(unsafe_code)]

mod alphabet;
mod bpe;
mod chain;
mod clean;
pub mod detokenizer;
mod error;
pub mod grammar;
mod index;
mod pretokenizer;
mod special;
mod spm;
pub mod stop;
pub mod template;
pub mod tokenizer;
mod unicode;
pub mod vocab;
mod whole;

pub use detokenizer::Detokenizer;
pub use error::Error;
pub use pretokenizer::pre_tokenizers;
pub use stop::{Stop, StopStrings};
pub use tokenizer::{Detokenize, Encode, Tokenizer};
pub use vocab::{Attributes, SpecialTokens, Vocab};
