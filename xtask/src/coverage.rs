//! `cargo xtask coverage`: the share of lines that the test suite reaches. Called by hand and by CI where there is time.

use crate::process;
use anyhow::{Result, bail};
use std::path::Path;

/// What is no part of the product: tasks, tests, examples and fuzz targets.
const LEFT_OUT: [&str; 4] = ["xtask/*", "*/tests/*", "*/examples/*", "*/fuzz/*"];

/// Runs the suite once, instrumented, under whichever coverage tool is installed; its last line is the percentage.
pub fn run(root: &Path) -> Result<()> {
    let has = |tool: &str| process::succeeds(process::cargo().args([tool, "--version"]));
    let mut tool = process::cargo();
    if has("tarpaulin") {
        tool.args(["tarpaulin", "--workspace", "--exclude", "xtask", "--engine", "llvm", "--out", "Stdout"]);
        // Instrumented code has a folder of its own, so that neither build throws the other's away.
        tool.args(["--skip-clean", "--target-dir", "target/coverage", "--timeout", "900"]);
        LEFT_OUT.iter().for_each(|files| _ = tool.args(["--exclude-files", files]));
    } else if has("llvm-cov") {
        tool.args(["llvm-cov", "nextest", "--workspace", "--exclude", "xtask", "--summary-only"]);
    } else {
        bail!("no coverage tool: `cargo install cargo-tarpaulin` or `cargo install cargo-llvm-cov`")
    }
    process::run(tool.current_dir(root))
}
