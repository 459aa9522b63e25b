//! The engine: sequences, the paged KV cache, the scheduler, the runner and the samplers.
//!
//! One thread owns all of it. A [`batch::Batch`] is what one step computes, [`cache::KvCache`] says where
//! keys and values lie, the scheduler decides who takes part, the runner does the arithmetic, a sampler
//! picks the tokens and the stream carries them out.
#![forbid(unsafe_code)]

pub mod batch;
pub mod cache;
pub mod engine;
mod error;
mod grammar;
pub mod handle;
pub mod inject;
mod masks;
pub mod observer;
mod reply;
pub mod request;
pub mod runner;
pub mod sampler;
mod sampler_vocab;
pub mod scheduler;
pub mod sequence;
pub mod stream;
pub mod technique;
mod token_text;
pub mod watch;

pub use error::Error;
pub use sampler_vocab::SamplerVocab;
pub use token_text::TokenText;
