//! Models on the Hugging Face hub: `owner/repo`, `owner/repo:QUANT` or `owner/repo:path/to/file.gguf`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::Cache;
use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use indicatif::ProgressBar;

use super::store::{FullDisk, Partial, sha256};
use super::{Entry, progress};

/// A file, or the best file, of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// `owner/repo`.
    repository: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    Quant(String),
    File(String),
}

impl Reference {
    /// Reads what follows `hf:` or `-hf`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (repository, wanted) = match text.split_once(':') {
            None => (text, Wanted::Any),
            Some((repository, file)) if file.ends_with(".gguf") => (repository, Wanted::File(file.into())),
            Some((repository, quant)) => (repository, Wanted::Quant(quant.into())),
        };
        let plain = |part: &str| {
            let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            !part.is_empty() && letters && !part.starts_with('.')
        };
        let file_is_plain = match &wanted {
            Wanted::Any => true,
            Wanted::Quant(quant) => plain(quant),
            Wanted::File(file) => file.split('/').all(plain),
        };
        match repository.split('/').collect::<Vec<_>>()[..] {
            [owner, name] if plain(owner) && plain(name) && file_is_plain => {
                Ok(Self { repository: repository.into(), wanted })
            }
            _ => bail!(
                "{text:?} does not name a model on the hub; say owner/repo, owner/repo:QUANT or owner/repo:file.gguf"
            ),
        }
    }

    /// The file, if it is in the cache.
    pub(super) fn existing(&self, models: &Path) -> Option<PathBuf> {
        let directory = self.directory(models);
        let files = files_below(&directory, "gguf");
        Some(directory.join(self.choose(&files)?))
    }

    /// Fetches the file, or all files of a split model, and returns the (first) file.
    pub(super) fn fetch(&self, models: &Path, endpoint: Option<&str>, token: Option<&str>) -> Result<PathBuf> {
        let partial = Partial::open(models, &format!("hf-{}", self.repository.replace('/', "--")))?;
        let result = self.fetch_into(&partial, models, endpoint, token);
        match &result {
            Ok(_) => partial.remove(),
            Err(error) => partial.leave(error, !files_below(partial.directory(), "part").is_empty()),
        }
        result
    }

    fn fetch_into(
        &self,
        partial: &Partial,
        models: &Path,
        endpoint: Option<&str>,
        token: Option<&str>,
    ) -> Result<PathBuf> {
        let mut builder = ApiBuilder::from_cache(Cache::new(partial.directory().to_path_buf()))
            .with_token(token.map(str::to_string))
            .with_retries(2);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').into());
        }
        let named = |error: ApiError| self.name_error(error, partial.directory());
        let repository = builder.build().map_err(named)?.model(self.repository.clone());
        let files: Vec<String> =
            repository.info().map_err(named)?.siblings.into_iter().map(|file| file.rfilename).collect();
        let Some(first) = self.choose(&files) else {
            let known: Vec<&str> = files.iter().map(String::as_str).filter(|file| is_model(file)).collect();
            bail!(
                "{} has no such GGUF file; it has {}",
                self.repository,
                if known.is_empty() { "none".into() } else { known.join(", ") }
            );
        };
        let directory = self.directory(models);
        // The first file of a split model stands for the whole, so it comes last.
        for file in shards(first).iter().rev() {
            let target = directory.join(file);
            if target.exists() {
                continue;
            }
            let bar = Bar(progress::bar(file, 0));
            let link = repository.download_with_progress(file, bar).map_err(named)?;
            let blob = fs::canonicalize(&link).with_context(|| format!("cannot find {}", link.display()))?;
            // The hub names a large file by its SHA-256.
            let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let found = sha256(&blob)?;
                if found != name {
                    let _ = fs::remove_file(&blob);
                    bail!("{file} came damaged: its SHA-256 is {found}, expected {name}; it was removed, pull again");
                }
            }
            let parent = target.parent().unwrap_or(&directory);
            fs::create_dir_all(parent).map_err(|error| FullDisk::name(error, parent))?;
            fs::rename(&blob, &target).with_context(|| format!("cannot move the model to {}", target.display()))?;
        }
        Ok(directory.join(first))
    }

    /// The file that is meant: the named one, or the first model file of the quantisation. As llama.cpp does, no
    /// quantisation means Q4_K_M, else Q8_0, else the first model file.
    fn choose<'a>(&self, files: &'a [String]) -> Option<&'a str> {
        let candidates = || files.iter().map(String::as_str).filter(|file| is_model(file));
        let with = |tag: &str| {
            let tag = tag.to_ascii_lowercase();
            candidates().find(|file| {
                let file = file.to_ascii_lowercase();
                [".", "-"].iter().any(|end| file.contains(&format!("{tag}{end}")))
            })
        };
        match &self.wanted {
            Wanted::File(wanted) => files.iter().map(String::as_str).find(|file| file == wanted),
            Wanted::Quant(quant) => with(quant),
            Wanted::Any => with("Q4_K_M").or_else(|| with("Q8_0")).or_else(|| candidates().next()),
        }
    }

    fn directory(&self, models: &Path) -> PathBuf {
        models.join("hf").join(&self.repository)
    }

    /// One line for what the hub client complains about.
    fn name_error(&self, error: ApiError, place: &Path) -> anyhow::Error {
        let text = error.to_string();
        if let ApiError::IoError(error) = error {
            return FullDisk::name(error, place);
        }
        match text.split_once("http status: ").map(|(_, status)| status.trim()) {
            Some("404") => anyhow!("the hub has no {self}"),
            Some("401" | "403") => {
                anyhow!("the hub wants an access token for {} (--hf-token), or it does not exist", self.repository)
            }
            Some(status) => anyhow!("the hub answered with status {status}"),
            None if text.contains("Lock acquisition") || text.contains("Header") => anyhow!(text),
            None => anyhow!("no network: the hub cannot be reached ({text})"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wanted {
            Wanted::Any => write!(f, "hf:{}", self.repository),
            Wanted::Quant(wanted) | Wanted::File(wanted) => write!(f, "hf:{}:{wanted}", self.repository),
        }
    }
}

/// The models from the hub that are in the cache, by path.
pub(super) fn cached(models: &Path) -> Vec<Entry> {
    let root = models.join("hf");
    let mut entries: Vec<Entry> = files_below(&root, "gguf")
        .into_iter()
        .filter(|file| is_model(file))
        .filter_map(|file| {
            let (owner, rest) = file.split_once('/')?;
            let (repository, rest) = rest.split_once('/')?;
            let path = root.join(&file);
            let length =
                |shard: &String| root.join(owner).join(repository).join(shard).metadata().map_or(0, |data| data.len());
            let bytes = shards(rest).iter().map(length).sum();
            Some(Entry {
                name: format!("hf:{owner}/{repository}:{rest}"),
                about: "from the Hugging Face hub".into(),
                license: String::new(),
                bytes,
                path: Some(path),
            })
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Language models only: no projectors, drafters or importance matrices, and of a split model its first file.
fn is_model(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let helpers = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
    name.ends_with(".gguf")
        && !helpers.iter().any(|word| name.contains(word))
        && split(name).is_none_or(|(_, index, _)| index == 1)
}

/// `NAME-00002-of-00005.gguf` as (`NAME`, 2, 5).
fn split(file: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (name, index) = rest.rsplit_once('-')?;
    let number = |digits: &str| (digits.len() == 5).then(|| digits.parse::<u32>().ok()).flatten();
    Some((name, number(index)?, number(count)?))
}

/// All files of a model, given its first.
fn shards(first: &str) -> Vec<String> {
    match split(first) {
        Some((name, _, count)) => (1..=count).map(|index| format!("{name}-{index:05}-of-{count:05}.gguf")).collect(),
        None => vec![first.to_string()],
    }
}

/// Paths of the files with this extension below a directory, relative to it, sorted.
fn files_below(root: &Path, extension: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(root.join(&directory)) else { continue };
        for entry in entries.flatten() {
            let path = directory.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(path),
                _ if path.extension().is_some_and(|end| end == extension) => {
                    files.extend(path.to_str().map(str::to_string))
                }
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// Our bar, told by the hub client.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn init(&mut self, size: usize, _: &str) {
        self.0.set_length(size as u64);
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {
        self.0.finish_and_clear();
    }
}
