//! The HTTP server: OpenAI's and llama-server's wire formats over one engine.
//!
//! Wire formats live here and nowhere else. A request is one row of [`routes::ROUTES`]; its handler reads the
//! JSON body into [`convert`]'s typed form, [`generate`] submits it to the engine and hands events to the form
//! of the route, which makes JSON of them. Opened by the program's `serve`.
//!
//! | module | what it does |
//! |---|---|
//! | [`routes`] | the table of routes |
//! | `listen` | sockets, connections, limits, draining |
//! | `guard` | API keys, CORS, panics |
//! | `fields`, `convert` | JSON to engine requests; the one place that rejects fields |
//! | `generate`, `sse` | answers as they come, whole or streamed |
//! | `openai`, `llama` | the two wire forms |
//! | `metrics`, `slots` | what the server tells about itself |
#![forbid(unsafe_code)]

mod app;
mod config;
mod convert;
mod error;
mod fields;
mod generate;
mod guard;
mod listen;
mod llama;
pub mod metrics;
mod openai;
pub mod routes;
mod scores;
mod slots;
mod sse;
mod timings;

pub use app::Model;
pub use config::{Config, Cors, Defaults, Limits};
pub use convert::constraint::Asked;
pub use error::ServeError;
pub use listen::{Server, run};
