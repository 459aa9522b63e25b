//! `cargo xtask coverage`: the share of lines that the test suite reaches. Called by hand and by CI where there is time.

use crate::process;
use anyhow::{Result, bail};
use std::path::Path;

/// Runs the suite once under whichever coverage tool is installed; its last lines are the percentage.
pub fn run(root: &Path) -> Result<()> {
    let has = |tool: &str| process::succeeds(process::cargo().args([tool, "--version"]));
    if has("tarpaulin") {
        let args =
            ["tarpaulin", "--workspace", "--engine", "llvm", "--exclude", "xtask", "--out", "Stdout", "--skip-clean"];
        process::run(process::cargo().args(args).current_dir(root))
    } else if has("llvm-cov") {
        process::run(process::cargo().args(["llvm-cov", "nextest", "--workspace", "--summary-only"]).current_dir(root))
    } else {
        bail!("no coverage tool: `cargo install cargo-tarpaulin` or `cargo install cargo-llvm-cov`")
    }
}
