//! Zeroed, cache-line-aligned memory for activations and the KV cache.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::Error;

/// Alignment of every buffer: one cache line, which is also one AVX-512 register.
pub const ALIGN: usize = 64;

/// Owned memory, zeroed and aligned to [`ALIGN`]. Pages are committed by the first touch.
#[derive(Debug)]
pub struct Buffer {
    ptr: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a `Buffer` owns its memory alone; the pointer is not shared behind its back.
unsafe impl Send for Buffer {}
// SAFETY: shared access only hands out the address; writes through it are the kernels' obligation.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates `bytes` zeroed bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] naming `purpose` when the system refuses.
    pub fn zeroed(bytes: usize, purpose: &'static str) -> Result<Self, Error> {
        let refused = Error::OutOfMemory { bytes, purpose };
        let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGN) else { return Err(refused) };
        // SAFETY: the layout has a non-zero size.
        let ptr = unsafe { alloc_zeroed(layout) };
        NonNull::new(ptr).map(|ptr| Self { ptr, bytes }).ok_or(refused)
    }

    /// Address of the first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the buffer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this size and alignment, freed once.
        unsafe { dealloc(self.ptr.as_ptr(), Layout::from_size_align_unchecked(self.bytes.max(1), ALIGN)) }
    }
}
