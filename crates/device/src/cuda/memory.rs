//! Memory of a device, and host memory that it can read and write directly.

use std::sync::Arc;

use cudarc::driver::sys::{self, CUdeviceptr, CUresult};

use crate::Buffer;

use super::error::{CudaError, check};
use super::gpu::Gpu;

/// A piece of device memory. Its address is an ordinary pointer that only kernels and copies may follow.
#[derive(Debug)]
pub struct Memory {
    home: Home,
    bytes: usize,
}

#[derive(Debug)]
enum Home {
    Device(Arc<Gpu>, CUdeviceptr),
    /// Of a queue whose kernels run on the host.
    Host(Buffer),
}

impl Memory {
    /// Takes `bytes` bytes, whose contents are undefined. Aligned to 256 bytes.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] with what is left.
    pub(super) fn on_device(gpu: &Arc<Gpu>, bytes: usize, purpose: &'static str) -> Result<Self, CudaError> {
        gpu.make_current()?;
        let mut address = 0;
        // SAFETY: a context is current; the memory is freed when this is dropped.
        match unsafe { sys::cuMemAlloc_v2(&mut address, bytes.max(1)) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                Err(CudaError::OutOfMemory { bytes, purpose, free_bytes: gpu.free_bytes().unwrap_or(0) })
            }
            result => {
                check("cuMemAlloc", result).map(|()| Self { home: Home::Device(Arc::clone(gpu), address), bytes })
            }
        }
    }

    /// The same of the host's memory.
    pub(super) fn on_host(bytes: usize, purpose: &'static str) -> Result<Self, CudaError> {
        let buffer = host_buffer(bytes, purpose)?;
        Ok(Self { home: Home::Host(buffer), bytes })
    }

    /// Where it begins.
    pub fn as_ptr(&self) -> *mut u8 {
        match &self.home {
            Home::Device(_, address) => *address as *mut u8,
            Home::Host(buffer) => buffer.as_ptr(),
        }
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
        let Home::Device(gpu, address) = &self.home else { return };
        if gpu.make_current().is_ok() {
            // SAFETY: allocated in `on_device`; freeing waits for kernels that are still running.
            let _ = unsafe { sys::cuMemFree_v2(*address) };
        }
    }
}

fn host_buffer(bytes: usize, purpose: &'static str) -> Result<Buffer, CudaError> {
    Buffer::zeroed(bytes, purpose).map_err(|_| CudaError::OutOfMemory { bytes, purpose, free_bytes: 0 })
}

/// Host memory that copies to and from the device need not stage: locked in its place.
#[derive(Debug)]
pub struct Pinned {
    /// What locked it; `None` for plain memory.
    gpu: Option<Arc<Gpu>>,
    buffer: Buffer,
}

impl Pinned {
    /// Takes `bytes` zeroed bytes and locks them.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn zeroed(gpu: &Arc<Gpu>, bytes: usize) -> Result<Self, CudaError> {
        gpu.make_current()?;
        let buffer = host_buffer(bytes, "what goes to the GPU and back")?;
        // SAFETY: a context is current; the buffer stays where it is and is unlocked before it goes.
        let locked = unsafe { sys::cuMemHostRegister_v2(buffer.as_ptr().cast(), bytes.max(1), 0) };
        check("cuMemHostRegister", locked)?;
        Ok(Self { gpu: Some(Arc::clone(gpu)), buffer })
    }

    /// The same without a device.
    pub(super) fn plain(bytes: usize) -> Result<Self, CudaError> {
        Ok(Self { gpu: None, buffer: host_buffer(bytes, "what goes to the GPU and back")? })
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: owned, initialised memory of that size.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr(), self.buffer.len()) }
    }

    /// Its bytes, for writing. Copies that were enqueued must be done.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.buffer.as_mut_slice()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.gpu.as_ref().is_some_and(|gpu| gpu.make_current().is_ok()) {
            // SAFETY: registered in `zeroed`.
            let _ = unsafe { sys::cuMemHostUnregister(self.buffer.as_ptr().cast()) };
        }
    }
}
