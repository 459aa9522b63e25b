//! NVIDIA GPUs: the driver, the run-time compiler and cuBLASLt, all opened at run time. Nobody else calls them.
//!
//! Kernels are CUDA C++ embedded in the program as text ([`Source`]), compiled for the device that is found
//! ([`Jit`], through a [`KernelCache`] on disk) and put on a [`Queue`], where they run one after another, singly or
//! as a recorded [`Graph`]. On machines without a GPU all of this is absent as a value: [`Libraries`] says what is
//! missing, and a [`Queue::compile_only`] still compiles where NVRTC is there.

mod blas;
mod cache;
mod ceiling;
mod error;
mod gpu;
mod graph;
mod jit;
mod libraries;
mod memory;
mod queue;
mod tensor_map;

pub use cache::KernelCache;
pub use ceiling::GpuCeilings;
pub use error::CudaError;
pub use gpu::{Arch, Gpu, GpuInfo};
pub use graph::{Event, Graph};
pub use jit::{Compiled, Constant, Jit, Source};
pub use libraries::Libraries;
pub use memory::{Memory, Pinned};
pub use queue::{FaultPlace, Figure, Grid, Kernel, Queue, Report, StandIn};
pub use tensor_map::TensorMap;
