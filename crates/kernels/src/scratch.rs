//! Per-worker memory for kernels: grows to the largest request once, then never allocates again.

use std::cell::RefCell;

use device::Buffer;

thread_local! {
    static SCRATCH: RefCell<Option<Buffer>> = const { RefCell::new(None) };
}

/// Calls `body` with at least `bytes` bytes, aligned to a cache line, with undefined contents. Not
/// to be nested.
///
/// # Panics
/// When the machine has no memory left; the step then fails as a whole.
pub fn with_scratch<R>(bytes: usize, body: impl FnOnce(*mut u8) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.as_ref().is_none_or(|buffer| buffer.len() < bytes) {
            *scratch = None; // free first: the old one is of no use
            *scratch = Buffer::zeroed(bytes.next_power_of_two(), "kernel scratch").ok();
        }
        match scratch {
            Some(buffer) => body(buffer.as_ptr()),
            None => panic!("cannot allocate {bytes} bytes of kernel scratch"),
        }
    })
}

/// Cuts consecutive, cache-line-aligned arrays out of one piece of scratch. Run once with a null
/// base to learn the size, once with the memory.
pub struct Carve {
    base: *mut u8,
    used: usize,
}

impl Carve {
    /// Starts at `base`, which may be null when only the size is wanted.
    pub fn new(base: *mut u8) -> Self {
        Self { base, used: 0 }
    }

    /// The next `len` values.
    pub fn take<T>(&mut self, len: usize) -> *mut T {
        let at = self.base.wrapping_add(self.used);
        self.used += (len * size_of::<T>()).next_multiple_of(device::buffer::ALIGN);
        at.cast()
    }

    /// Bytes taken so far.
    pub fn used(&self) -> usize {
        self.used
    }
}
