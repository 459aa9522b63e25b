//! The rule about techniques: one folder each, one line of the catalogue, so that one can be added or taken out by that
//! alone. Called through [`super::RULES`].

use super::Finding;
use super::source::{Source, Tree};
use std::collections::BTreeSet;

const FOLDER: &str = "crates/techniques/src/";
const CATALOGUE: &str = "crates/techniques/src/lib.rs";

/// Headings of a technique's page, in their order.
const HEADINGS: &[&str] =
    &["Problem", "Idea", "Exactness", "When it pays", "Interactions", "Knobs", "Measured", "References"];

/// What a line of the catalogue's file may begin with: modules, one import, the list.
const CATALOGUE_LINES: &[&str] = &["mod ", "use ", "pub const CATALOG:", "&", "];", "#![deny(unsafe_code)]"];

/// A technique is a folder with a page; the catalogue holds nothing but the list; nothing else names a technique.
pub fn folders(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut names = BTreeSet::new();
    for file in tree.rust() {
        let Some(rest) = file.path.strip_prefix(FOLDER) else { continue };
        match rest.split_once('/') {
            Some((folder, _)) => {
                names.insert(folder);
            }
            None if file.path == CATALOGUE => catalogue(file, findings),
            None => findings.push(Finding::error(&file.path, 0, "belongs in the folder of its technique")),
        }
    }
    for name in &names {
        page(tree, name, findings);
    }
    for file in tree.rust().filter(|file| file.package() != "techniques" && file.package() != "xtask") {
        for (line, string) in file.strings.iter().filter(|(line, _)| !file.in_tests(*line)) {
            if names.contains(string.as_str()) {
                let message = format!("names the technique `{string}`: what is special about it belongs in its folder");
                findings.push(Finding::error(&file.path, *line, message));
            }
        }
    }
}

/// The catalogue's file is the list, and what the list needs.
fn catalogue(file: &Source, findings: &mut Vec<Finding>) {
    for (at, line) in file.code_lines().filter(|(_, line)| !line.trim().is_empty()) {
        if !CATALOGUE_LINES.iter().any(|begins| line.trim_start().starts_with(begins)) {
            findings.push(Finding::error(
                &file.path,
                at,
                "the catalogue holds the list of techniques and nothing else",
            ));
        }
    }
}

/// The page of a technique has all headings, in their order.
fn page(tree: &Tree, name: &str, findings: &mut Vec<Finding>) {
    let path = format!("{FOLDER}{name}/README.md");
    let Some(page) = tree.file(&path) else {
        return findings.push(Finding::error(&path, 0, "is missing: every technique has a page"));
    };
    // A heading may add something in brackets: `Idea (formula)`.
    let title = |line: &str| line.strip_prefix("## ").map(|title| title.split(" (").next().unwrap_or("").to_owned());
    let found: Vec<String> = page.text.lines().filter_map(title).collect();
    if found != HEADINGS {
        let message = format!("its headings are to be {}", HEADINGS.join(" / "));
        findings.push(Finding::error(&path, 0, message));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    const LIST: &str = "//! All.\n#![deny(unsafe_code)]\n\nmod toy;\n\nuse engine::technique::Technique;\n\n\
        /// Every one.\npub const CATALOG: &[&Technique] = &[\n    &toy::TECHNIQUE,\n];\n";
    const PAGE: &str = "# toy\n## Problem\n## Idea (one formula)\n## Exactness\n## When it pays\n## Interactions\n\
        ## Knobs\n## Measured\n## References\n";
    const TOY: (&str, &str) = ("crates/techniques/src/toy/mod.rs", "//! T.\npub const TECHNIQUE: Technique = X;\n");
    const README: &str = "crates/techniques/src/toy/README.md";

    #[test]
    fn a_folder_with_its_page_and_its_line_is_whole() {
        let tree = [TOY, (README, PAGE), (super::CATALOGUE, LIST)];
        assert!(findings("techniques", &tree).is_empty(), "{:?}", findings("techniques", &tree));
        assert!(findings("registered", &tree).is_empty());
        let unlisted = LIST.replace("    &toy::TECHNIQUE,\n", "");
        assert_eq!(findings("registered", &[TOY, (README, PAGE), (super::CATALOGUE, &unlisted)]).len(), 1);
    }

    #[test]
    fn a_missing_or_incomplete_page_is_caught() {
        assert_eq!(findings("techniques", &[TOY]).len(), 1);
        let short = PAGE.replace("## Knobs\n", "");
        assert_eq!(findings("techniques", &[TOY, (README, &short)]).len(), 1);
    }

    #[test]
    fn more_than_a_list_in_the_catalogue_is_caught() {
        for more in ["pub mod toy;\n", "fn pick() {}\n", "static X: u32 = 1;\n"] {
            let text = format!("{LIST}{more}");
            assert_eq!(findings("techniques", &[(super::CATALOGUE, &text)]).len(), 1, "{more}");
        }
        assert_eq!(findings("techniques", &[("crates/techniques/src/shared.rs", "//! S.\n")]).len(), 1);
    }

    #[test]
    fn a_technique_named_elsewhere_is_caught() {
        let named = "fn f() { if id == \"toy\" { g() } }\n";
        let tree = |path| [TOY, (README, PAGE), (path, named)];
        assert_eq!(findings("techniques", &tree("crates/engine/src/a.rs")).len(), 1);
        assert!(findings("techniques", &tree("crates/engine/tests/a.rs")).is_empty());
        assert!(findings("techniques", &tree("crates/techniques/src/toy/cpu.rs")).is_empty());
    }
}
