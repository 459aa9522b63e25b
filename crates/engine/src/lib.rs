//! The engine: sequences, the paged KV cache, the scheduler, the runner and the samplers.
//!
//! One thread owns all of it. A [`batch::Batch`] is what one step computes, [`cache::KvCache`] says where
//! keys and values lie, the scheduler decides who takes part, the runner does the arithmetic, a sampler
//! picks the tokens and the stream carries them out.
#![forbid(unsafe_code)]

pub mod batch;
pub mod cache;
mod error;
pub mod sampler;

pub use error::Error;
