//! `cargo xtask ci`: everything a change must pass, cheapest first, ending in the counts of the tests.
//! Called by `.ci/run` and by hand before a commit.

use crate::{clients, cuda, docs, process, tidy};
use anyhow::Result;
use std::path::Path;

/// Runs every check and stops at the first that fails.
pub fn run(root: &Path) -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]).current_dir(root))?;
    tidy::run(root)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    process::run(process::cargo().args(clippy).current_dir(root))?;
    docs::run(root, docs::Mode::Check)?;
    tests(root)?;
    cuda::run(root, "compile", &[])?;
    clients::run(root)
}

/// All tests. nextest runs each in a process of its own and ends with a summary of the counts, but leaves out the
/// examples in documentation; without it cargo's own runner runs both and prints the counts of each package.
fn tests(root: &Path) -> Result<()> {
    if process::succeeds(process::cargo().args(["nextest", "--version"])) {
        process::run(process::cargo().args(["test", "--workspace", "--doc", "--quiet"]).current_dir(root))?;
        process::run(process::cargo().args(["nextest", "run", "--workspace"]).current_dir(root))
    } else {
        println!("cargo-nextest is not installed; using `cargo test`");
        process::run(process::cargo().args(["test", "--workspace", "--no-fail-fast"]).current_dir(root))
    }
}
