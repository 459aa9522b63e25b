//! Compiled kernels on disk, so that a second start compiles nothing. A file is named by what it was made from;
//! the source lies beside the code, for whoever wants to see what runs.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::jit::Compiled;

/// A folder of compiled kernels.
#[derive(Clone, Debug)]
pub struct KernelCache {
    folder: PathBuf,
}

impl KernelCache {
    /// In `folder`, which is made when something is kept.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The code that was kept under `key`, and what the assembler told of it.
    pub(super) fn load(&self, key: &str) -> Option<Compiled> {
        let cubin = std::fs::read(self.folder.join(format!("{key}.cubin"))).ok().filter(|code| !code.is_empty())?;
        let log = std::fs::read_to_string(self.folder.join(format!("{key}.log"))).unwrap_or_default();
        Some(Compiled { cubin, log })
    }

    /// Keeps code, log and source. A disk that refuses costs time at the next start, nothing else.
    pub(super) fn store(&self, key: &str, source: &str, compiled: &Compiled) {
        let _ = std::fs::create_dir_all(&self.folder);
        // The code comes last: where it is, the rest is.
        let kept = self.put(&format!("{key}.cu"), source.as_bytes());
        let kept = kept.and_then(|()| self.put(&format!("{key}.log"), compiled.log.as_bytes()));
        let _ = kept.and_then(|()| self.put(&format!("{key}.cubin"), &compiled.cubin));
    }

    /// The figure that was kept under `key`.
    pub(super) fn figure(&self, key: &str) -> Option<usize> {
        std::fs::read_to_string(self.folder.join(format!("{key}.figure"))).ok()?.trim().parse().ok()
    }

    /// Keeps a figure; as [`KernelCache::store`].
    pub(super) fn keep_figure(&self, key: &str, figure: usize) {
        let _ = std::fs::create_dir_all(&self.folder);
        let _ = self.put(&format!("{key}.figure"), format!("{figure}\n").as_bytes());
    }

    /// Writes a file that others see whole or not at all.
    fn put(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let unfinished = self.folder.join(format!("{name}.{}", std::process::id()));
        std::fs::write(&unfinished, bytes)?;
        std::fs::rename(&unfinished, self.folder.join(name))
    }
}

/// Name of what is compiled from these parts: readable, then a hash that changes with any of them.
pub(super) fn key(name: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_with_its_source_beside_it() {
        let folder = std::env::temp_dir().join(format!("chaski-kernel-cache-{}", std::process::id()));
        let cache = KernelCache::new(&folder);
        let compiled = Compiled { cubin: b"code".to_vec(), log: "0 bytes spill stores".to_owned() };
        assert_eq!(cache.load("add-1"), None);
        cache.store("add-1", "source", &compiled);
        assert_eq!(cache.load("add-1"), Some(compiled));
        assert_eq!(std::fs::read(folder.join("add-1.cu")).unwrap(), b"source");
        assert_eq!(cache.figure("rows-1"), None);
        cache.keep_figure("rows-1", 512);
        assert_eq!(cache.figure("rows-1"), Some(512));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4, "nothing unfinished is left");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_name_changes_with_every_part() {
        let names = [key("a", &["x", "y"]), key("a", &["xy", ""]), key("a", &["x", "z"]), key("b", &["x", "y"])];
        assert!((0..4).all(|i| (0..i).all(|j| names[i] != names[j])), "{names:?}");
    }
}
