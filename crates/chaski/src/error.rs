//! What can go wrong between a path and an answer.

/// Why a model could not be opened or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its tensors or numbers are not what the architecture needs.
    #[error("{path}: {cause}")]
    Model {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: model::Error,
    },
    /// Its tokenizer cannot be used.
    #[error("{path}: {cause}")]
    Text {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: text::Error,
    },
    /// Vocabulary and embedding table do not belong together.
    #[error("{path}: the tokenizer has {tokens} tokens, token_embd.weight {rows} rows")]
    Vocabulary {
        /// The file.
        path: String,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding table.
        rows: usize,
    },
    /// A KV cache of that size would hold nothing.
    #[error("--kv-memory: {bytes} bytes hold no sequence; the least that makes sense here is {least}")]
    KvMemory {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes for one block of each sequence.
        least: u64,
    },
    /// The GPU has no room for the layers that were asked for.
    #[error(
        "-ngl {asked}: {asked} of {all} layers need {needed_bytes} bytes on the GPU, {free_bytes} are free; \
         -ngl {fits} would fit, and so does -ngl auto"
    )]
    GpuMemory {
        /// Layers asked for, the output as one.
        asked: u32,
        /// Layers there are, the output as one.
        all: u32,
        /// What they need, with what is worked in.
        needed_bytes: usize,
        /// What is free.
        free_bytes: usize,
        /// Layers that have room.
        fits: u32,
    },
    /// The GPU failed before the model was loaded.
    #[error("the GPU: {0}")]
    Gpu(device::Error),
    /// The file cannot be opened.
    #[error(transparent)]
    File(device::Error),
    /// A technique that there is not, or that cannot be on.
    #[error("--technique {0}")]
    Technique(engine::technique::SwitchError),
    /// The engine refused or a step failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Error {
    /// Whether the GPU's failure is the cause: its memory, its compiler, itself. What it has no kernel for is none.
    pub(crate) fn is_of_gpu(&self) -> bool {
        let cause = match self {
            Error::Model { cause: model::Error::Device(cause), .. } => cause,
            Error::Gpu(cause) => cause,
            _ => return false,
        };
        matches!(cause, device::Error::Cuda(_))
    }
}
