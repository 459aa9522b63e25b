//! What is put on a [`super::Queue`]: a kernel, its grid, where it notes faults, and who may run it in a device's place.
//! Made by the variants of operations that run on a GPU.

use std::ffi::c_void;

use crate::cuda::error::CudaError;
use crate::cuda::jit::{Constant, Source};

/// A kernel: an entry of a source with its constants.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// The source.
    pub source: &'static Source,
    /// Name of the `__global__` function.
    pub entry: &'static str,
    /// What the source is specialised on.
    pub constants: &'a [Constant],
}

/// How many blocks of how many threads run, each with so much shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Blocks.
    pub blocks: [u32; 3],
    /// Threads per block.
    pub threads: u32,
    /// Bytes of shared memory whose size is not in the source.
    pub shared_bytes: u32,
}

impl Grid {
    /// A row of blocks.
    pub const fn row(blocks: u32, threads: u32) -> Self {
        Grid { blocks: [blocks, 1, 1], threads, shared_bytes: 0 }
    }
}

/// Where kernels note what they find wrong: the first finding of a run stays.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FaultPlace {
    /// One word: step from 1 in the upper half, what was seen in the lower; all ones for nothing. May be null.
    pub word: *mut u64,
    /// The step that runs, from 1.
    pub step: u64,
}

/// Does what a queue is asked to launch in a device's place, on memory of the host: how kernels are tried without one, and
/// what becomes of a device's faults.
pub trait StandIn: Send {
    /// Runs a kernel.
    ///
    /// # Errors
    /// When it does not compile or goes wrong.
    ///
    /// # Safety
    /// As [`super::Queue::launch`], but all addresses are the host's.
    unsafe fn launch(&self, kernel: &Kernel<'_>, grid: Grid, args: *const c_void) -> Result<(), CudaError>;

    /// Computes a product of halves: rows of `x`, rows of `w`, columns of both, values from one row of `out` to the next.
    ///
    /// # Safety
    /// As [`super::Queue::product_f16`], but all addresses are the host's.
    unsafe fn product_f16(&self, shape: [usize; 4], w: *const u16, x: *const u16, out: *mut f32);

    /// Bytes of memory that are free.
    fn free_bytes(&self) -> usize {
        usize::MAX
    }

    /// Is told of memory that is taken.
    ///
    /// # Errors
    /// When there is no room.
    fn take(&self, _bytes: usize, _purpose: &'static str) -> Result<(), CudaError> {
        Ok(())
    }

    /// Compiles a kernel that will be launched later.
    ///
    /// # Errors
    /// When it does not compile.
    fn compile(&self, _kernel: &Kernel<'_>) -> Result<(), CudaError> {
        Ok(())
    }

    /// Waits for what was launched.
    ///
    /// # Errors
    /// When the device is lost.
    fn synchronize(&self) -> Result<(), CudaError> {
        Ok(())
    }
}
