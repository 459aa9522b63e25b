//! The library's front door: opens a model file and wires the floors below into one object, [`Llm`].
//!
//! ```no_run
//! use chaski::{Llm, Options};
//! let llm = Llm::open("model.gguf".as_ref(), &Options::default())?;
//! println!("{} tokens in the vocabulary, {} steps in the plan", llm.vocab_size(), llm.explain().len());
//! # Ok::<(), chaski::Error>(())
//! ```
#![forbid(unsafe_code)]

mod calibration;
mod capacity;
mod error;
mod explain;
mod gpu;
mod llm;
mod options;
mod shape;

pub use engine::observer::OpCount;
pub use error::Error;
pub use explain::ExplainRow;
pub use gpu::{Gpu, GpuLayers};
pub use llm::{Llm, model_files};
pub use options::{Options, PlanKind};
pub use shape::{MIXES, SHAPES, Shape};
