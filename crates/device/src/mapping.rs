//! Read-only file mappings; the weights of a model stay in them for as long as the model lives.

use std::fs::File;
use std::path::Path;

use crate::Error;

/// A file mapped read-only into memory. Dereferences to its bytes.
///
/// Another process that truncates the file while it is mapped makes later reads fault; this is the
/// usual contract of memory-mapped models and the reason `pull` replaces files by renaming.
#[derive(Debug)]
pub struct Mapping {
    map: Option<memmap2::Mmap>,
}

impl Mapping {
    /// Maps the whole of `path`.
    ///
    /// # Errors
    /// [`Error::File`] with the path when the file cannot be opened, is a directory or cannot be mapped.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::File { path: path.display().to_string(), source };
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(std::io::Error::other("is a directory, not a model file")));
        }
        if metadata.len() == 0 {
            return Ok(Self { map: None }); // an empty range cannot be mapped
        }
        // SAFETY: the mapping is private and read-only; see the type's note on truncation.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
        Ok(Self { map: Some(map) })
    }

    /// `bytes` bytes of no file: `parts` at their places, zeros elsewhere. Only what is written or read takes memory.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when so many addresses cannot be had.
    ///
    /// # Panics
    /// When a part lies outside.
    pub fn blank(bytes: usize, parts: &[(usize, &[u8])]) -> Result<Self, Error> {
        let refused = |_| Error::OutOfMemory { bytes, purpose: "a model without a file" };
        let mut map = memmap2::MmapOptions::new().len(bytes.max(1)).no_reserve_swap().map_anon().map_err(refused)?;
        parts.iter().for_each(|&(at, part)| map[at..at + part.len()].copy_from_slice(part));
        Ok(Self { map: Some(map.make_read_only().map_err(refused)?) })
    }

    /// Asks the kernel to read the whole file ahead, in the background.
    pub fn prefetch(&self) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            // Only a hint: a kernel that refuses it costs speed, not correctness.
            let _ = map.advise(memmap2::Advice::WillNeed);
        }
    }

    /// Gives the memory of these bytes (and of the rest of their pages) back to the system. They can still be read:
    /// from the file, again.
    pub fn release(&self, bytes: std::ops::Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = self.map.as_ref().filter(|map| bytes.start < bytes.end && bytes.end <= map.len()) {
            // SAFETY: the mapping is read-only, so the pages that are dropped hold what the file holds.
            // Only a hint: a kernel that refuses it costs memory, not correctness.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.end - bytes.start)
            };
        }
    }
}

impl std::ops::Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_of_more_than_the_memory_holds_its_parts() {
        let mapping = Mapping::blank(1 << 40, &[(3, b"abc"), ((1 << 40) - 2, b"yz")]).unwrap();
        assert_eq!((&mapping[..7], &mapping[(1 << 40) - 3..]), (&b"\0\0\0abc\0"[..], &b"\0yz"[..]));
        assert!(Mapping::blank(usize::MAX / 2, &[]).is_err());
    }

    #[test]
    fn released_bytes_are_read_again_from_the_file() {
        let path = std::env::temp_dir().join(format!("chaski-mapping-{}", std::process::id()));
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mapping = Mapping::open(&path).unwrap();
        assert!(*mapping == *bytes);
        for range in [0..100_000, 5000..90_001, 0..0, 99_999..100_001, 1..2] {
            mapping.release(range);
            assert!(*mapping == *bytes);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
