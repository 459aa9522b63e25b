//! `cargo xtask docs`: the pages of docs/generated, written from the program and its sources so that they cannot go stale
//! unseen. Called by `ci` (as a check) and by hand after a change to a list that a page shows.

pub mod measured;

use crate::{process, tidy};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// What to do with a page that differs from what is generated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Write,
    Check,
}

/// One page: its file name without `.md`, and where its text comes from.
struct Page {
    name: &'static str,
    text: fn(&Path) -> Result<String>,
}

const PAGES: &[Page] = &[
    Page { name: "flags", text: |root| ask_program(root, "flags") },
    Page { name: "techniques", text: |root| ask_program(root, "techniques") },
    Page { name: "routes", text: |root| ask_program(root, "routes") },
    Page { name: "metrics", text: |root| ask_program(root, "metrics") },
    Page { name: "architectures", text: architectures },
    Page { name: "rules", text: |_| Ok(tidy::markdown()) },
];

/// Writes or checks every page.
pub fn run(root: &Path, mode: Mode) -> Result<()> {
    let folder = root.join("docs/generated");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (mut pages, mut stale) = (Vec::new(), Vec::new());
    for page in PAGES {
        let text = (page.text)(root).with_context(|| format!("docs/generated/{}.md", page.name))?;
        let fresh = format!("<!-- Written by `cargo xtask docs`; do not edit. -->\n{}\n", text.trim_end());
        pages.push((folder.join(format!("{}.md", page.name)), fresh));
    }
    pages.extend(measured::pages(root)?);
    for (path, fresh) in &pages {
        if fs::read_to_string(path).is_ok_and(|found| found == *fresh) {
            continue;
        }
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        match mode {
            Mode::Check => stale.push(name),
            Mode::Write => {
                fs::write(path, fresh).with_context(|| format!("cannot write {name}"))?;
                println!("wrote {name}");
            }
        }
    }
    if !stale.is_empty() {
        bail!("stale: {} (run `cargo xtask docs`)", stale.join(", "));
    }
    println!("docs: {} generated pages are fresh", pages.len());
    Ok(())
}

/// A page that the program knows: its hidden command `__docs NAME` prints Markdown.
fn ask_program(root: &Path, page: &str) -> Result<String> {
    let mut program = process::cargo();
    process::capture(program.args(["run", "--quiet", "--package", "cli", "--", "__docs", page]).current_dir(root))
}

/// The architectures: a row for each file of `archs`, with what its first line says of it.
fn architectures(root: &Path) -> Result<String> {
    let mut rows = Vec::new();
    let folder = root.join("crates/model/src/archs");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name != "mod" {
            rows.push(architecture_row(&name, &fs::read_to_string(&path)?));
        }
    }
    rows.sort();
    Ok(format!(
        "# Architectures\n\nThe values of `general.architecture` that Chaski runs.\n\n\
         | name | what it is |\n|---|---|\n{}\n",
        rows.join("\n")
    ))
}

fn architecture_row(name: &str, source: &str) -> String {
    let doc: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    format!("| [`{name}`](../../crates/model/src/archs/{name}.rs) | {} |", doc.join(" ").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_the_file_says_of_itself() {
        let row = architecture_row("qwen9", "//! Qwen 9: as 8,\n//! but more.\n\nuse x;\n");
        assert_eq!(row, "| [`qwen9`](../../crates/model/src/archs/qwen9.rs) | Qwen 9: as 8, but more. |");
    }
}
