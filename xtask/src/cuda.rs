//! `cargo xtask cuda …`: the kernels for CUDA, compiled for every architecture, tried on the CPU, or checked on a GPU.
//! The work is done by `kernels/examples/cuda`; here its compiler is found, by way of pip where the machine has none.
//! `ci` compiles; what was compiled before is kept in the user's cache.

use crate::{process, python};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Ampere, Ada, Hopper, Blackwell: 8.0, 8.9, 9.0, 12.0.
const ARCHS: [&str; 4] = ["80", "89", "90", "120"];

/// The wheel with NVRTC, of the version that gpu machines have.
const WHEEL: &str = "nvidia-cuda-nvrtc==13.0.*";

/// `compile`, `emulate` or `check`, with whatever the example takes.
pub fn run(root: &Path, what: &str, args: &[&str]) -> Result<()> {
    let target = root.join("target");
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--package", "kernels", "--example", "cuda", "--", what]);
    match what {
        "compile" => {
            if let Some(folder) = wheels() {
                command.arg("--libs").arg(folder);
            }
            let kept =
                python::cache().map_or_else(|| target.join("cuda-kernels"), |cache| cache.join("kernels-compiled"));
            command.arg("--cache").arg(kept).args(args).args(ARCHS);
        }
        "emulate" => {
            command.arg("--cache").arg(target.join("cuda-emulated")).args(args);
        }
        "check" => {
            command.arg("--cache").arg(target.join("cuda-kernels")).args(args);
        }
        other => bail!("cuda {other}: expected compile, emulate or check"),
    }
    process::run(command.current_dir(root))
}

/// The packages of a virtual environment with NVRTC, made if need be in the user's cache; none where pip cannot have it.
fn wheels() -> Option<PathBuf> {
    let folder = python::cache()?.join("python-nvrtc");
    if packages(&folder).is_none() {
        python::install(&folder, WHEEL);
    }
    packages(&folder)
}

/// `lib/python3.N/site-packages`, where NVRTC is in it.
fn packages(environment: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(environment.join("lib")).ok()?.flatten();
    let mut packages = versions.map(|version| version.path().join("site-packages"));
    packages.find(|packages| packages.join("nvidia").is_dir())
}
