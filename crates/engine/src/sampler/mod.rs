//! The sampler: a row of logits goes in, a token comes out. Called by the engine's step loop once per output row.
//!
//! The chain is a list of stages over a candidate list; each stage is one file that carries its own parameters
//! ([`ParamSpec`] rows: HTTP field, flags, range, default, help). `README.md` beside this file gives order,
//! defaults and the differences from llama.cpp.

mod adaptive_p;
mod chain;
mod draw;
mod dry;
mod error;
mod logit_bias;
mod min_p;
mod mirostat;
mod params;
mod penalties;
mod registry;
mod temperature;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical;
mod xtc;

pub use error::Error;
pub use params::{Kind, ParamSpec, ParamValue, Params};
pub use registry::{PARAMS, STAGES};

/// A stage as data: how it is called, what can be set, how it is made.
#[derive(Debug)]
pub struct StageSpec {
    /// Name in `--samplers`.
    pub name: &'static str,
    /// Letter in `--sampler-seq`; `None` when the stage has a fixed place in the chain.
    pub letter: Option<char>,
    /// Further names in `--samplers`, besides `top-k` and `topk` for `top_k`.
    pub aliases: &'static [&'static str],
    /// What can be set.
    pub params: &'static [&'static ParamSpec],
}
