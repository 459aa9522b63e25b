//! Our own side: the program built in release form, and the models it can pull. Called by every bench.

use super::duel::{Reading, Side};
use super::options::Options;
use crate::process;
use anyhow::{Context, Result};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A built `chaski`.
pub struct Chaski {
    pub program: PathBuf,
    /// What to call it: the commit it was built from.
    pub version: String,
}

/// A model file and what to call it.
#[derive(Clone, Debug)]
pub struct Model {
    pub name: String,
    pub file: String,
}

impl Chaski {
    /// The program that the options name, else this checkout's, built.
    pub fn get(root: &Path, options: &Options) -> Result<Chaski> {
        if let Some(program) = &options.chaski {
            return Ok(Chaski { program: program.clone(), version: options.commit.clone() });
        }
        process::run(process::cargo().args(["build", "--release", "--package", "cli"]).current_dir(root))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Chaski { program: root.join(target).join("release/chaski"), version: commit(root) })
    }

    /// The GGUF file at this path, or the model of this name, fetched if it is not here yet.
    pub fn model(&self, name: &str) -> Result<Model> {
        let path = Path::new(name);
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Model { name: stem, file: name.to_owned() });
        }
        let printed = self.ask(&["pull", name])?;
        let file = printed.lines().next_back().with_context(|| format!("`chaski pull {name}` printed no path"))?;
        Ok(Model { name: name.to_owned(), file: file.to_owned() })
    }

    /// What the program prints.
    pub fn ask(&self, args: &[&str]) -> Result<String> {
        process::capture(Command::new(&self.program).args(args))
    }

    /// The same as JSON.
    pub fn ask_json(&self, args: &[&str]) -> Result<Json> {
        serde_json::from_str(&self.ask(args)?).with_context(|| format!("`chaski {}`", args.join(" ")))
    }

    /// `chaski bench` as one side of a duel.
    pub fn bench(&self, args: &[String], read: fn(&str) -> Result<Vec<Reading>>) -> Side {
        let args = [&["bench".to_owned()], args].concat();
        Side { program: self.program.clone(), args, read }
    }
}

/// The commit that is checked out, with a `+` where the sources differ from it; said to be unknown without git.
pub fn commit(root: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "an unknown commit".into() };
    let changed = git(&["status", "--porcelain", "--", "crates", "Cargo.lock"]).is_some_and(|text| !text.is_empty());
    format!("{commit}{}", if changed { "+" } else { "" })
}
