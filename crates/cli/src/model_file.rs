//! A model file opened for reading: mapped, its parts found, its header parsed. Used by the commands that look at a file
//! without running it (`inspect`, `tokenize`).

use std::path::{Path, PathBuf};

use anyhow::Context;
use device::Mapping;
use gguf::Gguf;

/// A GGUF file, or all files of a split set.
pub struct ModelFile {
    pub paths: Vec<PathBuf>,
    pub gguf: Gguf,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl ModelFile {
    /// Opens `path`; for a part of a split set, all parts beside it.
    pub fn open(path: &Path) -> anyhow::Result<ModelFile> {
        let paths = parts(path);
        let maps = paths.iter().map(|path| Mapping::open(path)).collect::<Result<Vec<_>, _>>()?;
        let files: Vec<&[u8]> = maps.iter().map(|map| &map[..]).collect();
        let gguf = Gguf::parse_split(&files).with_context(|| path.display().to_string())?;
        Ok(ModelFile { paths, gguf, bytes: files.iter().map(|file| file.len() as u64).sum() })
    }
}

/// All files of the set that `path` names.
fn parts(path: &Path) -> Vec<PathBuf> {
    match path.to_str().and_then(gguf::split_parts) {
        Some((prefix, _, count)) => (0..count).map(|no| gguf::split_path(prefix, no, count).into()).collect(),
        None => vec![path.to_owned()],
    }
}
