//! Evidence: how good and how fast a plan is, in numbers that can be compared with other engines.
//!
//! - [`quality`] scores a text: perplexity, and how far one plan's distributions are from another's.
//! - [`measure`] times two things side by side and says how sure the difference is.
//! - [`judge`] says of two configurations whether the second pays.
//! - [`report`] holds all that was found out about them, as a table for the terminal and as a page with charts.
//!
//! Nothing here knows a model or prints a line: logits arrive through [`quality::LogitsSource`], times through
//! closures, techniques as names, and results are values that the program's commands show.

#![forbid(unsafe_code)]

mod error;
pub mod judge;
pub mod measure;
pub mod quality;
pub mod report;

pub use error::Error;
