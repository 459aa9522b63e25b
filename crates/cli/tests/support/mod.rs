//! Runs the program as a user would: its own process, a clean environment, a cache of its own.

#![allow(dead_code)] // each test file uses its part of this

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a call of the program gave.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program, with nothing of the caller's environment that could change what it does.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_chaski"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LLAMA_ARG_") {
            program.env_remove(name);
        }
    }
    program.env("CHASKI_CACHE", env!("CARGO_TARGET_TMPDIR")).env_remove("HF_TOKEN").current_dir(root());
    program
}

/// Runs it with these words and nothing on standard input.
pub fn chaski(words: &[&str]) -> Outcome {
    chaski_with_input(words, "")
}

/// Runs it with these words and this on standard input.
pub fn chaski_with_input(words: &[&str], input: &str) -> Outcome {
    let mut child = program()
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // The program may have ended before it read everything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    outcome(child.wait_with_output().expect("the program ends"))
}

/// Runs it and expects success; gives standard output.
pub fn stdout_of(words: &[&str]) -> String {
    let outcome = chaski(words);
    assert_eq!(outcome.code, Some(0), "{words:?}: {outcome:?}");
    outcome.stdout
}

/// Runs it and expects one line of complaint, no output, and this exit code; gives the line.
pub fn complaint_of(words: &[&str], code: i32) -> String {
    let outcome = chaski(words);
    assert_eq!(outcome.code, Some(code), "{words:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{words:?}");
    let line = outcome.stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("{words:?}: {outcome:?}"));
    assert_eq!(line.lines().count(), 1, "{words:?}: {line}");
    line.trim_end().to_owned()
}

pub fn outcome(output: Output) -> Outcome {
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A tiny model with random weights.
pub fn fixture(name: &str) -> String {
    let path = root().join("fixtures").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.display().to_string()
}

/// A file in a place of this test's own.
pub fn scratch(name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).expect("the scratch folder can be written");
    path
}

/// SmolLM2 from the user's cache. Without it the test is skipped, except in CI, where it must be there.
pub fn smollm2() -> Option<String> {
    let cache = std::env::var_os("CHASKI_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/chaski")));
    let path = cache?.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if path.exists() {
        return Some(path.display().to_string());
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is missing; `chaski pull smollm2`", path.display());
    println!("skipped: {} is missing; `chaski pull smollm2` fetches it", path.display());
    None
}
