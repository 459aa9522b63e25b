//! text.

pub mod template;
