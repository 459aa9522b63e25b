//! `cargo xtask bench …`: Chaski measured against others, and what the measurements say. Called by hand; every claim about
//! speed in this repository is one of its rows.
//!
//! A bench is a file here that makes [`duel::Duel`]s: two programs that measure the same tests. The frame does the rest:
//! [`chaski`] and [`llama_cpp`] find and build the programs, [`duel`] runs them in turn, [`machine`] says where,
//! [`results`] keeps the rows as JSON and Markdown, [`chart`] draws them.

mod attention;
mod chart;
mod chaski;
mod duel;
mod llama_cpp;
mod load;
pub mod machine;
mod options;
mod peers;
mod results;
mod sampling;
mod serve;
mod serve_chart;
mod types;

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Runs the bench called `name`.
pub fn run(root: &Path, name: &str, args: &[&str]) -> Result<()> {
    match name {
        "attention" => attention::run(root, args),
        "peers" => peers::run(root, args),
        "sampling" => sampling::run(root, args),
        "serve" => serve::run(root, args),
        other => bail!("unknown bench `{other}`; there are: attention, peers, sampling, serve"),
    }
}

/// Where what is fetched and built for comparison is kept: `peers` in the cache that `chaski` uses too.
fn cache() -> Result<PathBuf> {
    let filled = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = filled("CHASKI_CACHE")
        .or_else(|| Some(filled("XDG_CACHE_HOME")?.join("chaski")))
        .or_else(|| Some(filled("HOME")?.join(".cache/chaski")))
        .context("no place for a cache: set HOME, or CHASKI_CACHE to a directory")?;
    let cache = root.join("peers");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}
