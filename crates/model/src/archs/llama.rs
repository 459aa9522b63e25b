//! Llama 1 to 3, Mistral, SmolLM2 and everything else that converters file under `llama`.

use crate::arch::Arch;

/// The base itself.
pub const LLAMA: Arch = Arch::LLAMA;
