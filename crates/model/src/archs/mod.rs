//! Every architecture, one file each.

mod gemma2;
mod gemma3;
mod llama;
mod phi3;
mod qwen2;
mod qwen3;

use crate::Arch;

/// The registry. A new architecture is its file and its line here.
pub const ARCHS: &[&Arch] =
    &[&llama::LLAMA, &qwen2::QWEN2, &qwen3::QWEN3, &gemma2::GEMMA2, &gemma3::GEMMA3, &phi3::PHI3];

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Arch> {
    ARCHS.iter().copied().find(|arch| arch.name == name)
}

/// All names, for messages.
pub fn names() -> Vec<&'static str> {
    ARCHS.iter().map(|arch| arch.name).collect()
}
