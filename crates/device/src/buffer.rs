//! Zeroed, page-aligned memory for activations and the KV cache.

use memmap2::MmapMut;

use crate::Error;

/// Alignment that kernels may count on: one cache line, which is also one AVX-512 register.
pub const ALIGN: usize = 64;

/// From here on huge pages are asked for: the blocks of one head lie far apart in the KV cache, and
/// walking them through 4 KiB pages costs more than reading them.
const HUGE_FROM: usize = 4 << 20;

/// Owned memory, zeroed, aligned to a page. Pages are committed by the first touch.
#[derive(Debug)]
pub struct Buffer {
    map: MmapMut,
    bytes: usize,
}

impl Buffer {
    /// Allocates `bytes` zeroed bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] naming `purpose` when the system refuses.
    pub fn zeroed(bytes: usize, purpose: &'static str) -> Result<Self, Error> {
        let map = MmapMut::map_anon(bytes.max(1)).map_err(|_| Error::OutOfMemory { bytes, purpose })?;
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_FROM {
            // Only a hint: a kernel that refuses it costs speed, not correctness.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map, bytes })
    }

    /// Address of the first byte. Whoever writes through it answers for not racing with others.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_ptr().cast_mut()
    }

    /// All bytes, for an owner that has lent no address yet.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.map[..self.bytes]
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
