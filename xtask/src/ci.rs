//! `cargo xtask ci`: everything a change must pass, cheapest first, ending in the counts of the tests.
//! Called by `.ci/run` and by hand before a commit.

use crate::{clients, cuda, docs, process, suite, tidy};
use anyhow::Result;
use std::path::Path;

/// Runs every check and stops at the first that fails.
pub fn run(root: &Path) -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]).current_dir(root))?;
    tidy::run(root)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    process::run(process::cargo().args(clippy).current_dir(root))?;
    docs::run(root, docs::Mode::Check)?;
    suite::run(root)?;
    cuda::run(root, "compile", &[])?;
    clients::run(root)
}
