//! All tests, with a count that takes none for passed which did not run: a test that lacks what it needs (a GPU, a
//! model, a compiler, an instruction set) prints a line with `skipped: REASON`, and is counted and named here.
//! Called by `ci`.

use crate::process;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a test prints before the reason why it, or a part of it, did not run.
const SKIPPED: &str = "skipped: ";

/// What became of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Tests that did not fail, those that did not run among them.
    sound: usize,
    failed: usize,
    /// Name of a test and why it, or a part of it, did not run.
    skipped: Vec<(String, String)>,
}

impl Outcome {
    /// Reads what a test that did not fail has printed.
    fn read(&mut self, name: &str, output: &str) {
        let reasons = output.lines().filter(|line| line.contains(SKIPPED)).map(shorten);
        self.skipped.extend(reasons.map(|reason| (name.to_owned(), reason)));
    }

    /// The counts: of tests that passed whole, that were skipped in whole or in part, and that failed.
    fn counts(&self) -> [usize; 3] {
        let mut names: Vec<&str> = self.skipped.iter().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        [self.sound - names.len().min(self.sound), names.len(), self.failed]
    }

    fn report(&self) {
        let [passed, skipped, failed] = self.counts();
        if skipped > 0 {
            println!("Not run on this machine, in whole or in part:");
        }
        for (name, reason) in &self.skipped {
            println!("  {name}: {reason}");
        }
        println!("Tests: {passed} passed, {skipped} skipped in whole or in part, {failed} failed");
    }
}

/// Words one blank apart: verdicts come in columns.
fn shorten(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs them all. nextest gives each a process of its own, but leaves out the examples in documentation; without it
/// cargo's own runner runs both.
pub fn run(root: &Path) -> Result<()> {
    if !process::succeeds(process::cargo().args(["nextest", "--version"])) {
        println!("cargo-nextest is not installed; using `cargo test`");
        return libtest(root);
    }
    process::run(process::cargo().args(["test", "--workspace", "--doc", "--quiet"]).current_dir(root))?;
    let done = process::run(process::cargo().args(["nextest", "run", "--workspace"]).current_dir(root));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let path = target.join("nextest/default/junit.xml"); // as .config/nextest.toml says
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    junit(&text).report();
    done
}

/// Reads the report that nextest writes: a `testcase` for each test, `system-out` and `system-err` inside it.
fn junit(text: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for case in text.split("<testcase").skip(1) {
        let case = case.split("</testcase>").next().unwrap_or(case);
        let attribute =
            |name: &str| case.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
        if case.contains("<failure") || case.contains("<error") {
            outcome.failed += 1;
            continue;
        }
        outcome.sound += 1;
        let name = [attribute(" classname"), attribute(" name")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        outcome.read(&name, &plain(case));
    }
    outcome
}

/// Text of an XML document without its marks and escapes; each mark ends a line.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split('<') {
        out.push_str(piece.split_once('>').map_or(piece, |(_, text)| text));
        out.push('\n');
    }
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .iter()
        .fold(out, |out, (escape, plain)| out.replace(escape, plain))
}

/// cargo's own runner. What tests that passed have printed is read, not shown.
fn libtest(root: &Path) -> Result<()> {
    let args = ["test", "--workspace", "--no-fail-fast", "--", "--show-output"];
    let mut command: Command = process::cargo();
    let mut child = command.args(args).current_dir(root).stdout(Stdio::piped()).spawn().context("cargo test")?;
    let mut reader = Shown::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("what cargo test prints")?;
            if reader.take(&line) {
                println!("{line}");
            }
        }
    }
    reader.outcome.report();
    if !child.wait()?.success() {
        bail!("`cargo {}` failed", args.join(" "));
    }
    Ok(())
}

/// Reads what cargo's runner prints, line by line.
#[derive(Default)]
struct Shown {
    outcome: Outcome,
    /// Whether the lines are those of tests that passed, and of which.
    passed: bool,
    test: String,
}

impl Shown {
    /// Whether the line is to be shown.
    fn take(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.passed = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.passed = false;
        }
        let count = |what: &str| {
            let mut parts = line.split([';', '.']);
            parts.find_map(|part| part.strip_suffix(what)?.trim().parse::<usize>().ok()).unwrap_or(0)
        };
        if line.starts_with("test result: ") {
            self.outcome.sound += count(" passed");
            self.outcome.failed += count(" failed");
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(&mut self.test);
        } else if self.passed {
            self.outcome.read(&self.test, line);
        }
        !self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<testsuites name="nextest-run" tests="4" failures="1">
        <testsuite name="cli::gpu" tests="4">
            <testcase name="whole" classname="cli::gpu" timestamp="2026" time="0.8"><system-out>running 1 test
ok</system-out></testcase>
            <testcase name="absent" classname="cli::gpu" time="0.8"><system-out>skipped: no &quot;GPU&quot;
</system-out><system-err></system-err></testcase>
            <testcase name="wrong" classname="cli::gpu"><failure type="test failure">skipped: no</failure></testcase>
            <testcase name="partly" classname="cli::gpu"><system-err>a      passed 3
b      skipped: needs avx512
c      skipped: needs amx</system-err></testcase>
            <testcase name="silent" classname="cli::gpu"/>
        </testsuite>
    </testsuites>"#;

    fn pair(name: &str, reason: &str) -> (String, String) {
        (name.to_owned(), reason.to_owned())
    }

    #[test]
    fn who_did_not_run_has_not_passed() {
        let outcome = junit(REPORT);
        let expected = [
            pair("cli::gpu absent", "skipped: no \"GPU\""),
            pair("cli::gpu partly", "b skipped: needs avx512"),
            pair("cli::gpu partly", "c skipped: needs amx"),
        ];
        assert_eq!(outcome.skipped, expected);
        assert_eq!(outcome.counts(), [2, 2, 1]);
    }

    #[test]
    fn the_other_runner_is_read_alike() {
        let printed = "test a ... ok\ntest b ... ok\ntest c ... FAILED\n\nsuccesses:\n\n---- a stdout ----\nskipped: no GPU\n\n\
                       successes:\n    a\n    b\n\nfailures:\n\n---- c stdout ----\nskipped: wrong\n\n\
                       test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        let mut reader = Shown::default();
        let shown: Vec<&str> = printed.lines().filter(|line| reader.take(line)).collect();
        assert_eq!(reader.outcome.skipped, [pair("a", "skipped: no GPU")]);
        assert_eq!(reader.outcome.counts(), [1, 1, 1]);
        assert!(shown.contains(&"skipped: wrong") && !shown.contains(&"skipped: no GPU"));
    }
}
