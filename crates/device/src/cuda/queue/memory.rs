//! Memory of a [`Queue`]: taking it, copying from and to the host, filling it, and the pieces that operations share. In
//! a queue without a device it is the host's, or nothing.

use cudarc::driver::sys;

use super::Queue;
use crate::cuda::error::{CudaError, check};
use crate::cuda::memory::{Memory, Pinned};

impl Queue {
    /// Takes memory of the device, with undefined contents.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] with what is left; [`CudaError::NoDevice`] for a queue that only compiles.
    pub fn memory(&self, bytes: usize, purpose: &'static str) -> Result<Memory, CudaError> {
        match (&self.live, &self.stand_in) {
            (Some(live), _) => Memory::on_device(&live.gpu, bytes, purpose),
            (None, Some(stand_in)) => stand_in.take(bytes, purpose).and_then(|()| Memory::on_host(bytes, purpose)),
            (None, None) => Err(CudaError::NoDevice("the queue only compiles".to_owned())),
        }
    }

    /// Takes zeroed memory of the host from which copies to the device need no detour.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn pinned(&self, bytes: usize) -> Result<Pinned, CudaError> {
        self.live.as_ref().map_or_else(|| Pinned::plain(bytes), |live| Pinned::zeroed(&live.gpu, bytes))
    }

    /// Memory that lasts until the next call, at least `bytes` bytes: what one op passes on between its kernels.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn scratch(&self, bytes: usize) -> Result<*mut u8, CudaError> {
        let Some(live) = &self.live else {
            let mut scratch = self.host_scratch.borrow_mut();
            let words = if self.is_emulated() { bytes.div_ceil(size_of::<u64>()) } else { 0 };
            let words = words.max(scratch.len());
            scratch.resize(words, u64::MAX);
            return Ok(scratch.as_mut_ptr().cast());
        };
        let mut scratch = self.scratch.borrow_mut();
        if scratch.as_ref().is_none_or(|memory| memory.len() < bytes) {
            if self.recording.get() {
                return Err(CudaError::GrewInGraph("kernel scratch"));
            }
            *scratch = None; // free first: the old one is of no use
            self.generation.set(self.generation.get() + 1); // also where there is no room for the new one
            *scratch = Some(Memory::on_device(&live.gpu, bytes.next_multiple_of(1 << 20), "kernel scratch")?);
        }
        Ok(scratch.as_ref().map_or(std::ptr::null_mut(), Memory::as_ptr))
    }

    /// At least `len` words that are zero; who counts with them, or passes something on in them, leaves them so.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn counters(&self, len: usize) -> Result<*mut u32, CudaError> {
        if self.live.is_none() && !self.is_emulated() {
            return Ok(std::ptr::null_mut());
        }
        let mut counters = self.counters.borrow_mut();
        let bytes = len * size_of::<u32>();
        if counters.as_ref().is_none_or(|memory| memory.len() < bytes) {
            if self.recording.get() {
                return Err(CudaError::GrewInGraph("counters"));
            }
            let memory = self.memory(bytes.next_multiple_of(1 << 16), "counters")?;
            // SAFETY: it is as large.
            unsafe { self.clear(&memory) }?;
            *counters = Some(memory);
            self.generation.set(self.generation.get() + 1);
        }
        Ok(counters.as_ref().map_or(std::ptr::null_mut(), |memory| memory.as_ptr().cast()))
    }

    /// Zeroes memory, though launches only compile.
    ///
    /// # Safety
    /// As [`Queue::fill`].
    unsafe fn clear(&self, memory: &Memory) -> Result<(), CudaError> {
        let rehearsing = self.rehearsing.replace(false);
        // SAFETY: the caller's promise.
        let cleared = unsafe { self.fill(memory.as_ptr(), 0, memory.len()) };
        self.rehearsing.set(rehearsing);
        cleared
    }

    /// Enqueues a copy from the host. The bytes must stay until it is done, unless they are not pinned.
    ///
    /// # Errors
    /// When the driver refuses.
    ///
    /// # Safety
    /// `to` must have room on the device.
    pub unsafe fn upload(&self, from: &[u8], to: *mut u8) -> Result<(), CudaError> {
        if self.is_emulated() {
            // SAFETY: the caller's promise, of memory of the host.
            unsafe { std::ptr::copy(from.as_ptr(), to, from.len()) };
        }
        let Some(live) = self.live.as_ref().filter(|_| !from.is_empty() && !self.rehearsing.get()) else {
            return Ok(());
        };
        // SAFETY: the caller's promise.
        check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(to as u64, from.as_ptr().cast(), from.len(), live.stream)
        })
    }

    /// Enqueues a copy to the host, done when the queue is waited for.
    ///
    /// # Errors
    /// When the driver refuses.
    ///
    /// # Safety
    /// `from` must hold that many bytes on the device; nobody may look at `to` before the copy is done.
    pub unsafe fn download(&self, from: *const u8, to: &mut [u8]) -> Result<(), CudaError> {
        if self.is_emulated() {
            // SAFETY: the caller's promise, of memory of the host.
            unsafe { std::ptr::copy(from, to.as_mut_ptr(), to.len()) };
        }
        let Some(live) = self.live.as_ref().filter(|_| !to.is_empty() && !self.rehearsing.get()) else {
            return Ok(());
        };
        // SAFETY: the caller's promise.
        check("cuMemcpyDtoHAsync", unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from as u64, to.len(), live.stream)
        })
    }

    /// Enqueues the filling of `bytes` bytes with `value`.
    ///
    /// # Errors
    /// When the driver refuses.
    ///
    /// # Safety
    /// `to` must have room on the device.
    pub unsafe fn fill(&self, to: *mut u8, value: u8, bytes: usize) -> Result<(), CudaError> {
        if self.is_emulated() {
            // SAFETY: the caller's promise, of memory of the host.
            unsafe { std::ptr::write_bytes(to, value, bytes) };
        }
        let Some(live) = self.live.as_ref().filter(|_| bytes > 0 && !self.rehearsing.get()) else { return Ok(()) };
        // SAFETY: the caller's promise.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(to as u64, value, bytes, live.stream) })
    }
}
