//! `cargo xtask fixtures`: tiny models with seeded random weights, one per architecture and per thing that an
//! architecture may do differently, with the logits that llama.cpp gives for them and how it goes on. Called by hand when a recipe is added.
//!
//! A recipe is one row of [`recipes::RECIPES`]. Its file is the same on every machine, so `--check` compares bytes. The
//! logits beside it come from a build of llama.cpp (`--oracle`), taken once in f32 and committed.

mod build;
mod recipes;
mod vocab;
mod weights;

use crate::process;
use anyhow::{Context, Result, bail, ensure};
use recipes::RECIPES;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to do with the fixtures.
pub enum Mode {
    Write,
    Check,
    /// Write, then take logits from the llama.cpp source tree at this path, built under its `build/`.
    Oracle(PathBuf),
}

/// The tokens whose logits are kept, one row per position: longer than the sliding windows of the recipes, with repeats,
/// and inside every recipe's vocabulary.
const TOKENS: [u32; 24] =
    [1, 65, 300, 12, 271, 271, 88, 140, 7, 299, 33, 260, 1, 199, 281, 65, 300, 12, 0, 255, 263, 264, 90, 305];

/// How many tokens the oracle adds greedily.
const NUM_GREEDY: usize = 16;

/// Writes or checks every fixture.
pub fn run(root: &Path, mode: Mode) -> Result<()> {
    let folder = root.join("fixtures");
    fs::create_dir_all(&folder)?;
    write(&folder.join("tokens.json"), format!("{TOKENS:?}\n").as_bytes(), &mode)?;
    for recipe in RECIPES {
        let model = build::model(recipe).with_context(|| format!("fixture {}", recipe.name))?;
        write(&folder.join(format!("{}.gguf", recipe.name)), &model, &mode)?;
    }
    if let Mode::Oracle(llama_cpp) = &mode {
        take_logits(root, &folder, llama_cpp)?;
    }
    let total: u64 = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum();
    println!("fixtures: {} models, {} KB", RECIPES.len(), total / 1024);
    Ok(())
}

/// Writes a file, or with [`Mode::Check`] fails where it would differ.
fn write(path: &Path, bytes: &[u8], mode: &Mode) -> Result<()> {
    let found = fs::read(path).ok();
    if found.as_deref() == Some(bytes) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if matches!(mode, Mode::Check) {
        bail!("fixtures/{name} differs from its recipe (run `cargo xtask fixtures`)");
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote fixtures/{name}");
    Ok(())
}

/// Compiles the small C program that asks libllama for logits, and runs it on each fixture.
fn take_logits(root: &Path, folder: &Path, llama_cpp: &Path) -> Result<()> {
    let libraries = llama_cpp.join("build/bin");
    let target = root.join("target");
    fs::create_dir_all(&target)?;
    let program = target.join("oracle_logits");
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-Wall", "-o"]).arg(&program).arg(root.join("xtask/oracle/logits.c"));
    for include in ["include", "ggml/include"] {
        compile.arg("-I").arg(llama_cpp.join(include));
    }
    compile.arg("-L").arg(&libraries).arg(format!("-Wl,-rpath,{}", libraries.display()));
    process::run(compile.args(["-lllama", "-lggml", "-lggml-base"]))?;
    for recipe in RECIPES {
        let logits = folder.join(format!("{}.logits", recipe.name));
        let mut ask = Command::new(&program);
        ask.arg(folder.join(format!("{}.gguf", recipe.name))).arg(&logits).arg(NUM_GREEDY.to_string());
        let greedy = process::capture(ask.args(TOKENS.map(|token| token.to_string())))?;
        write(&folder.join(format!("{}.greedy.json", recipe.name)), greedy.as_bytes(), &Mode::Write)?;
        check_logits(&logits, recipe).with_context(|| format!("the oracle's logits of {}", recipe.name))?;
    }
    Ok(())
}

/// Logits are of use when they are finite and tell positions and tokens apart.
fn check_logits(path: &Path, recipe: &recipes::Recipe) -> Result<()> {
    let bytes = fs::read(path)?;
    let floats: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let vocab_size = vocab::size(recipe.vocab);
    ensure!(floats.len() == TOKENS.len() * vocab_size, "{} logits for {} tokens", floats.len(), TOKENS.len());
    ensure!(floats.iter().all(|logit| logit.is_finite()), "not all are finite");
    for (position, row) in floats.chunks_exact(vocab_size).enumerate() {
        let mean = row.iter().sum::<f32>() / vocab_size as f32;
        let spread = (row.iter().map(|logit| (logit - mean).powi(2)).sum::<f32>() / vocab_size as f32).sqrt();
        ensure!(spread > 0.1, "position {position} hardly tells tokens apart (standard deviation {spread})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_builds_and_reads_back() {
        for recipe in RECIPES {
            let bytes = build::model(recipe).unwrap();
            let model = gguf::Gguf::parse(&bytes).unwrap();
            let vocab_size = vocab::size(recipe.vocab);
            assert!(TOKENS.iter().all(|token| (*token as usize) < vocab_size), "{}", recipe.name);
            assert!(model.tensor("blk.0.ffn_down.weight").is_some(), "{}", recipe.name);
            assert_eq!(bytes, build::model(recipe).unwrap(), "{} is not the same twice", recipe.name);
        }
    }

    #[test]
    fn committed_fixtures_are_those_of_the_recipes() {
        run(&crate::root(), Mode::Check).unwrap();
    }

    #[test]
    fn committed_logits_are_of_use() {
        for recipe in RECIPES {
            check_logits(&crate::root().join(format!("fixtures/{}.logits", recipe.name)), recipe).unwrap();
        }
    }

    #[test]
    fn names_are_unique() {
        for (at, recipe) in RECIPES.iter().enumerate() {
            assert!(RECIPES[..at].iter().all(|other| other.name != recipe.name), "{} stands twice", recipe.name);
        }
    }
}
