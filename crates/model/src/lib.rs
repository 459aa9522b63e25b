//! A model: an architecture described as data ([`arch`]), read with the file's numbers ([`hparams`]) and
//! tensors ([`weights`]), becomes a [`graph`] of ops, and the graph a [`plan`]: a flat list of steps with
//! the kernel of each already chosen. [`interpret`] runs the graph with the plain references instead and
//! is the oracle for everything faster.
#![forbid(unsafe_code)]

pub mod arch;
pub mod archs;
mod arena;
mod blocks;
mod error;
pub mod graph;
pub mod hparams;
pub mod interpret;
pub mod memory;
pub mod plan;
pub mod repack;
pub mod rope;
pub mod weights;

pub use arch::Arch;
pub use error::Error;
pub use graph::Graph;
pub use hparams::Hparams;
pub use interpret::Interpreter;
pub use plan::{Plan, PlanOptions, Results, StepInfo, StepOutput};
pub use repack::WeightMemory;
pub use weights::Weights;
