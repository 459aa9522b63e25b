//! A model file opened for reading: mapped, its parts found, its header parsed. Used by the commands that look at a file
//! without running it (`inspect`, `tokenize`).

use std::path::{Path, PathBuf};

use anyhow::Context;
use device::Mapping;
use gguf::Gguf;

use crate::units;

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
        let paths = chaski::model_files(path);
        let maps = paths.iter().map(|path| Mapping::open(path)).collect::<Result<Vec<_>, _>>()?;
        let files: Vec<&[u8]> = maps.iter().map(|map| &map[..]).collect();
        let gguf = Gguf::parse_split(&files).with_context(|| path.display().to_string())?;
        Ok(ModelFile { paths, gguf, bytes: files.iter().map(|file| file.len() as u64).sum() })
    }
}

impl ModelFile {
    /// Elements of all tensors.
    pub fn num_parameters(&self) -> u64 {
        num_parameters(&self.gguf)
    }

    /// Bytes of all tensors.
    pub fn weight_bytes(&self) -> u64 {
        weight_bytes(&self.gguf)
    }

    /// Architecture, size and main type, as in `llama 134.52M Q4_1`.
    pub fn summary(&self) -> String {
        let architecture = self.gguf.metadata.opt_str("general.architecture").ok().flatten().unwrap_or("unknown");
        let size = units::parameters(self.num_parameters()).replace(' ', "");
        format!("{} {size} {}", units::shown(architecture, 40), main_type(&self.gguf))
    }
}

/// Elements of all tensors.
pub fn num_parameters(gguf: &Gguf) -> u64 {
    gguf.tensors.iter().map(|tensor| tensor.elements()).fold(0, u64::saturating_add)
}

/// Bytes of all tensors.
pub fn weight_bytes(gguf: &Gguf) -> u64 {
    gguf.tensors.iter().map(|tensor| tensor.bytes as u64).sum()
}

/// The type that most weights are of, by elements.
pub fn main_type(gguf: &Gguf) -> &'static str {
    let mut sums: Vec<(&str, u64)> = Vec::new();
    for tensor in &gguf.tensors {
        match sums.iter_mut().find(|(name, _)| *name == tensor.dtype.name()) {
            Some((_, sum)) => *sum = sum.saturating_add(tensor.elements()),
            None => sums.push((tensor.dtype.name(), tensor.elements())),
        }
    }
    sums.iter().max_by_key(|(_, sum)| *sum).map_or("without tensors", |(name, _)| name)
}
