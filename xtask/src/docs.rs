//! `cargo xtask docs`: the pages of docs/generated, written by the program itself so that they cannot go stale unseen.
//! Called by `ci` (as a check) and by hand after a change to a list that the program prints.

use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// What to do with a page that differs from what the program prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Write,
    Check,
}

/// The pages: file name without `.md`, which is also the name the program knows the page by (`chaski __docs NAME`).
const PAGES: &[&str] = &[];

/// Writes or checks every page.
pub fn run(root: &Path, mode: Mode) -> Result<()> {
    let folder = root.join("docs/generated");
    let mut stale = Vec::new();
    for page in PAGES {
        let path = folder.join(format!("{page}.md"));
        let fresh = generate(root, page)?;
        let found = fs::read_to_string(&path).unwrap_or_default();
        if found == fresh {
            continue;
        }
        match mode {
            Mode::Check => stale.push(format!("docs/generated/{page}.md")),
            Mode::Write => {
                fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
                fs::write(&path, fresh).with_context(|| format!("cannot write {}", path.display()))?;
                println!("wrote docs/generated/{page}.md");
            }
        }
    }
    if !stale.is_empty() {
        bail!("stale: {} (run `cargo xtask docs`)", stale.join(", "));
    }
    println!("docs: {} generated pages are fresh", PAGES.len());
    Ok(())
}

fn generate(root: &Path, page: &str) -> Result<String> {
    let mut program = process::cargo();
    program.args(["run", "--quiet", "--package", "cli", "--", "__docs", page]).current_dir(root);
    let text = process::capture(&mut program)?;
    Ok(format!("<!-- Written by `cargo xtask docs`; do not edit. -->\n{}\n", text.trim_end()))
}
