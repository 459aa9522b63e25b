//! Virtual environments under the user's cache, with packages that tasks need. Called by `clients` and `cuda`.

use crate::process;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Chaski's folder in the user's cache.
pub fn cache() -> Option<PathBuf> {
    let given = std::env::var_os("CHASKI_CACHE").map(PathBuf::from);
    given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/chaski")))
}

/// Makes an environment with `package`. Whether that went well, for it may be offline, or without Python.
pub fn install(folder: &Path, package: &str) -> bool {
    println!("installing {package} into {}", folder.display());
    process::succeeds(Command::new("python3").args(["-m", "venv"]).arg(folder))
        && process::succeeds(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", package]))
}
