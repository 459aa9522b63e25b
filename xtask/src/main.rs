//! Project tasks, called as `cargo xtask TASK`: what CI runs, the house rules, generated docs and fixtures.
//!
//! Only this program and the front doors may read the environment, start other programs and write into the checkout.

#![forbid(unsafe_code)]

mod ci;
mod coverage;
mod docs;
mod process;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const USAGE: &str = "\
cargo xtask TASK

  ci                     format, clippy, tidy, generated docs, all tests: what a change must pass
  tidy [--rules]         check the house rules; --rules lists them
  docs [--check]         write docs/generated from the program; --check fails when they are stale
  coverage               run the test suite once, instrumented, and print the share of lines it reached";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root();
    match args.as_slice() {
        ["ci"] => ci::run(&root),
        ["tidy"] => tidy::run(&root),
        ["tidy", "--rules"] => tidy::list(),
        ["docs"] => docs::run(&root, docs::Mode::Write),
        ["docs", "--check"] => docs::run(&root, docs::Mode::Check),
        ["coverage"] => coverage::run(&root),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown task `{}`\n\n{USAGE}", other.join(" ")),
    }
}

/// The root of the checkout: the folder above this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
