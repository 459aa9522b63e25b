//! Memory of a device, and host memory that it can read and write directly.

use std::sync::Arc;

use cudarc::driver::sys::{self, CUdeviceptr, CUresult};

use super::error::{CudaError, check};
use super::gpu::Gpu;

/// A piece of device memory. Its address is an ordinary pointer that only kernels and copies may follow.
#[derive(Debug)]
pub struct Memory {
    gpu: Arc<Gpu>,
    address: CUdeviceptr,
    bytes: usize,
}

impl Memory {
    /// Takes `bytes` bytes, whose contents are undefined. Aligned to 256 bytes.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] with what is left.
    pub fn new(gpu: &Arc<Gpu>, bytes: usize, purpose: &'static str) -> Result<Self, CudaError> {
        gpu.make_current()?;
        let mut address = 0;
        // SAFETY: a context is current; the memory is freed when this is dropped.
        match unsafe { sys::cuMemAlloc_v2(&mut address, bytes.max(1)) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                Err(CudaError::OutOfMemory { bytes, purpose, free_bytes: gpu.free_bytes().unwrap_or(0) })
            }
            result => check("cuMemAlloc", result).map(|()| Self { gpu: Arc::clone(gpu), address, bytes }),
        }
    }

    /// Where it begins.
    pub fn as_ptr(&self) -> *mut u8 {
        self.address as *mut u8
    }

    /// Its size.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.gpu.make_current().is_ok() {
            // SAFETY: allocated in `new`; freeing waits for kernels that are still running.
            let _ = unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// Host memory that copies to and from the device need not stage: locked in its place.
#[derive(Debug)]
pub struct Pinned {
    gpu: Arc<Gpu>,
    address: *mut u8,
    bytes: usize,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Takes `bytes` zeroed bytes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn zeroed(gpu: &Arc<Gpu>, bytes: usize) -> Result<Self, CudaError> {
        gpu.make_current()?;
        let mut address = std::ptr::null_mut();
        // SAFETY: a context is current; the memory is freed when this is dropped.
        check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut address, bytes.max(1), 0) })?;
        // SAFETY: just allocated with that size.
        unsafe { std::ptr::write_bytes(address.cast::<u8>(), 0, bytes.max(1)) };
        Ok(Self { gpu: Arc::clone(gpu), address: address.cast(), bytes })
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: owned, initialised memory of that size.
        unsafe { std::slice::from_raw_parts(self.address, self.bytes) }
    }

    /// Its bytes, for writing. Copies that were enqueued must be done.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: owned, initialised memory of that size.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.gpu.make_current().is_ok() {
            // SAFETY: allocated in `zeroed`.
            let _ = unsafe { sys::cuMemFreeHost(self.address.cast()) };
        }
    }
}
