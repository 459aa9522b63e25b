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
