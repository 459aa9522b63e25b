//! What can be wrong with a model.

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a sound GGUF.
    #[error(transparent)]
    File(#[from] gguf::Error),
    /// The machine refuses memory or the file.
    #[error(transparent)]
    Device(#[from] device::Error),
    /// A worker panicked while weights were laid out anew.
    #[error(transparent)]
    Pool(#[from] device::PoolError),
    /// An architecture nobody has described yet.
    #[error("architecture {name:?} is not supported; supported: {}", crate::archs::names().join(", "))]
    Architecture {
        /// `general.architecture` of the file.
        name: String,
    },
    /// A feature of a known architecture that is not supported.
    #[error("{feature} is not supported for architecture {arch}")]
    Feature {
        /// The architecture.
        arch: &'static str,
        /// What the file asks for.
        feature: String,
    },
    /// A tensor the architecture needs is missing.
    #[error("tensor {name} is missing")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape than the metadata demands. Shapes are rows × columns.
    #[error("tensor {name}: expected {expected:?}, file has {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Rows, columns.
        expected: Vec<u64>,
        /// As in the file, outermost first.
        found: Vec<u64>,
    },
    /// A tensor type without a decoder.
    #[error("tensor {name}: type {dtype} is not supported here")]
    DType {
        /// Its name.
        name: String,
        /// Its type.
        dtype: gguf::DType,
    },
    /// The GPU lacks a kernel for what must be done where its cache is.
    #[error("the GPU has no kernel for {what}")]
    Offload {
        /// The step.
        what: String,
    },
    /// A number in the metadata that makes no sense.
    #[error("metadata {key}: {value} is not {expected}")]
    Metadata {
        /// The key.
        key: String,
        /// What the file says.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
}
