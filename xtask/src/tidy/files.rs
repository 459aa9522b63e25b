//! Rules about files: size, first line, names. Called through [`super::RULES`].

use super::Finding;
use super::source::{Source, Tree};

const MAX_LINES: usize = 700;
const THINK_AT_LINES: usize = 400;

/// Files that are tables: long by nature, rows and nothing else. Entries are path prefixes.
const TABLES: &[&str] = &["crates/gguf/src/tables", "crates/text/src/tables", "docs/generated/", "fixtures/"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "v2"];
const EMPTY_PREFIXES: &[&str] = &["new_", "fast_"];

/// Files stay readable in one sitting.
pub fn size(tree: &Tree, findings: &mut Vec<Finding>) {
    let is_table = |file: &&Source| TABLES.iter().any(|table| file.path.starts_with(table));
    let is_code = |file: &&Source| [".rs", ".py", ".sh", ".cu"].iter().any(|end| file.path.ends_with(end));
    for file in tree.files.iter().filter(is_code).filter(|file| !is_table(file) && !file.is_test()) {
        let lines = file.lines_before_tests();
        if lines > MAX_LINES {
            findings.push(Finding::error(&file.path, 0, format!("{lines} lines before tests; {MAX_LINES} at most")));
        } else if lines > THINK_AT_LINES {
            findings.push(Finding::question(&file.path, 0, format!("{lines} lines: is there a second thing in it?")));
        }
    }
}

/// A Rust file begins by saying what it is for.
pub fn module_doc(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.rust() {
        let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
        let words = first.trim_start_matches("//!").split_whitespace().count();
        if !first.starts_with("//!") || words < 2 {
            findings.push(Finding::error(&file.path, 1, "must begin with a `//!` line that says what the file is for"));
        }
    }
}

/// Names say what a thing is.
pub fn names(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in &tree.files {
        for part in file.path.split('/') {
            let stem = part.split('.').next().unwrap_or(part);
            if is_empty_name(stem) {
                findings.push(Finding::error(&file.path, 0, format!("`{stem}` says nothing about what is inside")));
            }
        }
    }
    for file in tree.rust() {
        for (at, line) in file.code_lines() {
            let name_after = |word: &str| {
                let (_, rest) = line.split_once(word)?;
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                Some(&rest[..end])
            };
            if let Some(name) = name_after("mod ").filter(|name| is_empty_name(name)) {
                findings.push(Finding::error(
                    &file.path,
                    at,
                    format!("`mod {name}` says nothing about what is inside"),
                ));
            }
            let unsafe_twin = |name: &&str| name.starts_with("get_unchecked") || *name == "get_mut";
            if let Some(name) = name_after("fn ").filter(|name| name.starts_with("get_") && !unsafe_twin(name)) {
                findings.push(Finding::error(&file.path, at, format!("`{name}`: getters go without get_")));
            }
        }
    }
}

fn is_empty_name(name: &str) -> bool {
    EMPTY_NAMES.contains(&name) || EMPTY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::super::Weight;
    use super::super::tests::findings;

    #[test]
    fn long_files_are_caught_and_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(701);
        let found = findings("size", &[("crates/a/src/b.rs", &long)]);
        assert_eq!(found[0].weight, Weight::Error);
        let found = findings("size", &[("crates/a/src/b.rs", &long[..4010])]);
        assert_eq!(found[0].weight, Weight::Question);
        assert!(findings("size", &[("crates/a/src/tests.rs", &long)]).is_empty());
        let mostly_tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(findings("size", &[("crates/a/src/b.rs", &mostly_tests)]).is_empty());
    }

    #[test]
    fn a_file_that_does_not_introduce_itself_is_caught() {
        assert_eq!(findings("module-doc", &[("crates/a/src/b.rs", "fn f() {}\n")]).len(), 1);
        assert_eq!(findings("module-doc", &[("crates/a/src/b.rs", "//! stuff\n")]).len(), 1);
        assert!(findings("module-doc", &[("crates/a/src/b.rs", "//! The thing that does it.\n")]).is_empty());
    }

    #[test]
    fn empty_names_are_caught() {
        assert_eq!(findings("names", &[("crates/a/src/utils.rs", "")]).len(), 1);
        assert_eq!(findings("names", &[("crates/a/src/common/b.rs", "")]).len(), 1);
        assert_eq!(findings("names", &[("crates/a/src/b.rs", "pub mod helpers;\n")]).len(), 1);
        assert_eq!(findings("names", &[("crates/a/src/b.rs", "fn get_size() {}\n")]).len(), 1);
        assert!(findings("names", &[("crates/a/src/b.rs", "fn size() {}\nfn target_of() {}\n")]).is_empty());
    }
}
