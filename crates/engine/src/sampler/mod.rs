//! The sampler: a row of logits goes in, a token comes out. Called by the engine's step loop once per output row.
//!
//! ```text
//! let mut candidates = Candidates::new(num_tokens);            // one per thread, lent to every sampler
//! let mut sampler = Sampler::new(&params, &vocab, random_seed)?;
//! sampler.accept_all(&prompt);                                 // the penalties and DRY look at the prompt too
//! let sampled = sampler.sample(&mut candidates, logits)?;      // changes no state: the same again gives the same
//! sampler.accept(sampled.token);                               // … and `rollback(n)` undoes n of these
//! ```
//!
//! The chain is a list of stages over a candidate list; each stage is one file that carries its own parameters
//! ([`ParamSpec`] rows: HTTP field, flags, range, default, help). `README.md` beside this file gives order,
//! defaults and the differences from llama.cpp.

mod adaptive_p;
mod candidates;
mod chain;
mod draw;
mod dry;
mod error;
pub mod exp;
mod journal;
mod logit_bias;
mod logprobs;
mod min_p;
mod mirostat;
mod params;
mod penalties;
mod philox;
mod rank;
mod registry;
mod spec;
mod stage;
mod temperature;
mod token_set;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical;
mod xtc;

pub use candidates::{Candidates, Entry};
pub use chain::{Sampled, Sampler};
pub use dry::{Breaker, breaker_texts, breakers};
pub use error::Error;
pub use logprobs::logprobs;
pub use params::Params;
pub use registry::{PARAMS, STAGES};
pub use spec::{Kind, ParamSpec, ParamValue};
pub use stage::{Built, ChainStep, Editable, Effect, Setup, Stage, StageSpec, Step, VocabInfo};
pub use token_set::TokenSet;
