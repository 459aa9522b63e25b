//! The house rules that a program can check: `cargo xtask tidy`.
//!
//! A rule is one row of [`RULES`] and one function from the [`Tree`] to its findings. A rule reads nothing but the
//! tree, so its tests build a small tree by hand and show that a violation is caught.

mod crates;
mod files;
mod registration;
mod safety;
mod source;
mod techniques;
mod wording;

use anyhow::{Result, bail};
use source::Tree;
use std::fmt;
use std::path::Path;

/// One house rule.
struct Rule {
    id: &'static str,
    /// What holds when the rule is kept; printed by `--rules`.
    says: &'static str,
    check: fn(&Tree, &mut Vec<Finding>),
}

/// Every rule, in the order in which they are reported.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { id: "floors", says: "a crate depends only on crates of lower floors", check: crates::floors },
    Rule { id: "lints", says: "every package takes the workspace's lints (warnings and missing docs denied)", check: crates::lints },
    Rule { id: "forbid-unsafe", says: "crates that need no unsafe code forbid it at their root", check: safety::forbidden },
    Rule { id: "unsafe-rooms", says: "unsafe code lives in device, kernels, technique kernel files and capi", check: safety::rooms },
    Rule { id: "safety-comment", says: "each unsafe block and impl says why it is sound: `// SAFETY:`", check: safety::comments },
    Rule { id: "no-panic", says: "no unwrap, expect, panic!, todo! or unimplemented! outside tests", check: safety::panics },
    Rule { id: "environment", says: "only cli, capi and xtask read the environment or the command line", check: crates::environment },
    Rule { id: "cpu-features", says: "CPU features are asked for in device alone", check: crates::cpu_features },
    Rule { id: "architecture-names", says: "only archs/<arch>.rs names an architecture", check: registration::architecture_names },
    Rule { id: "registered", says: "each architecture, op and sampler stage stands in its list", check: registration::registered },
    Rule { id: "techniques", says: "a technique is one folder with its page and one line of the catalogue; nothing else names it", check: techniques::folders },
    Rule { id: "size", says: "700 lines at most before a file's tests; 400 is a question; tests and tables apart", check: files::size },
    Rule { id: "module-doc", says: "a file begins with `//!`: what it is for and who calls it", check: files::module_doc },
    Rule { id: "names", says: "no utils, common, helpers, misc, v2, new_, fast_; getters without get_", check: files::names },
    Rule { id: "wording", says: "no machine paths and no package-registry hosts in any text", check: wording::places },
];

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Weight {
    /// Fails the check.
    Error,
    /// Printed, so that somebody thinks about it.
    Question,
}

/// One place that breaks a rule.
#[derive(Debug)]
struct Finding {
    weight: Weight,
    path: String,
    /// 1-based; 0 where the finding is about the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn error(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { weight: Weight::Error, path: path.into(), line, message: message.into() }
    }

    fn question(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { weight: Weight::Question, ..Self::error(path, line, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.message),
            line => write!(out, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Checks every rule over the checkout and fails when one is broken.
pub fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let (mut errors, mut questions) = (0, 0);
    for rule in RULES {
        let mut findings = Vec::new();
        (rule.check)(&tree, &mut findings);
        for finding in &findings {
            match finding.weight {
                Weight::Error => {
                    errors += 1;
                    println!("error[{}] {finding}", rule.id);
                }
                Weight::Question => {
                    questions += 1;
                    println!("question[{}] {finding}", rule.id);
                }
            }
        }
    }
    let files = tree.files.len();
    println!("tidy: {} rules over {files} files: {errors} errors, {questions} questions", RULES.len());
    if errors > 0 {
        bail!("the tree breaks house rules (`cargo xtask tidy --rules` lists them)");
    }
    Ok(())
}

/// Prints the rules.
pub fn list() -> Result<()> {
    for rule in RULES {
        println!("{:20} {}", rule.id, rule.says);
    }
    Ok(())
}

/// The rules as a page of docs/generated.
pub fn markdown() -> String {
    let rows: Vec<String> = RULES.iter().map(|rule| format!("| `{}` | {} |", rule.id, rule.says)).collect();
    format!("# House rules\n\nWhat `cargo xtask tidy` checks.\n\n| rule | says |\n|---|---|\n{}\n", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings of one rule over a small tree of `(path, text)` rows.
    pub fn findings(id: &str, files: &[(&str, &str)]) -> Vec<Finding> {
        let tree = Tree::of(files);
        let rule = RULES.iter().find(|rule| rule.id == id).expect("no such rule");
        let mut found = Vec::new();
        (rule.check)(&tree, &mut found);
        found
    }

    #[test]
    fn rule_ids_are_unique() {
        for (at, rule) in RULES.iter().enumerate() {
            assert!(RULES[..at].iter().all(|other| other.id != rule.id), "{} stands twice", rule.id);
        }
    }

    #[test]
    fn findings_show_where() {
        let finding = Finding::error("crates/a/src/b.rs", 3, "too bad");
        assert_eq!(finding.to_string(), "crates/a/src/b.rs:3: too bad");
        assert_eq!(Finding::question("a.rs", 0, "hm").to_string(), "a.rs: hm");
    }
}
