//! The machine: what it has (`hardware`), memory (`buffer`, `mapping`), the worker pool (`cpu`) and GPUs (`cuda`).
//!
//! Floor 0. Everything that touches the operating system below the command line lives here, so that
//! the floors above can stay free of I/O and of CPU-feature tests.

pub mod buffer;
pub mod clock;
pub mod cpu;
pub mod cuda;
pub mod hardware;
pub mod mapping;

pub use buffer::{ALIGN, Buffer};
pub use cpu::{Ceilings, Pool, PoolError, Shard};
pub use hardware::{Feature, Hardware, Isa};
pub use mapping::Mapping;

/// What can go wrong between Chaski and the machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened or mapped.
    #[error("{path}: {source}")]
    File {
        /// The file as the caller named it.
        path: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A buffer could not be allocated.
    #[error("cannot allocate {bytes} bytes for {purpose}; use a smaller context (-c) or fewer sequences")]
    OutOfMemory {
        /// The size asked for.
        bytes: usize,
        /// What the memory was for.
        purpose: &'static str,
    },
    /// A worker thread could not be started.
    #[error("cannot start worker thread {index}: {source}")]
    Thread {
        /// Index of the worker.
        index: usize,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The GPU failed.
    #[error(transparent)]
    Cuda(#[from] cuda::CudaError),
    /// A worker failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
}
