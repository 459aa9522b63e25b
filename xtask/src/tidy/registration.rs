//! Rules about registries: everything that exists stands in its list, and only its own file names an architecture.
//! Called through [`super::RULES`].

use super::Finding;
use super::source::{Source, Tree};
use std::collections::BTreeSet;

/// A folder whose entries must each stand in one hand-written list.
struct Registry {
    folder: &'static str,
    /// The file with the list; an entry `name` stands in it as `name::SOMETHING`.
    list: &'static str,
    /// Files of the folder that are not entries.
    except: &'static [&'static str],
}

const REGISTRIES: &[Registry] = &[
    Registry { folder: "crates/model/src/archs/", list: "crates/model/src/archs/mod.rs", except: &["mod"] },
    Registry { folder: "crates/kernels/src/ops/", list: "crates/kernels/src/table.rs", except: &["mod"] },
    Registry { folder: "crates/engine/src/sampler/", list: "crates/engine/src/sampler/mod.rs", except: &["mod"] },
];

const ARCHS: &str = "crates/model/src/archs/";

/// Crates that must not know any architecture by name.
const NAMELESS: &[&str] = &["model", "engine", "kernels"];

/// Each entry of a registry's folder stands in its list.
pub fn registered(tree: &Tree, findings: &mut Vec<Finding>) {
    for registry in REGISTRIES {
        let entries = entries(tree, registry);
        if entries.is_empty() {
            continue;
        }
        let Some(list) = tree.file(registry.list) else {
            findings.push(Finding::error(registry.list, 0, format!("the list of {} is missing", registry.folder)));
            continue;
        };
        for entry in entries {
            if !names_path(&list.code, &entry) {
                let message = format!("{}{entry} does not stand in this list", registry.folder);
                findings.push(Finding::error(registry.list, 0, message));
            }
        }
    }
}

/// The modules in a registry's folder: its files and its folders.
fn entries(tree: &Tree, registry: &Registry) -> BTreeSet<String> {
    let in_folder = |file: &Source| {
        let rest = file.path.strip_prefix(registry.folder)?;
        let name = rest.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name).to_string())
    };
    let is_entry = |name: &String| !registry.except.contains(&name.as_str()) && !name.contains("test");
    tree.rust().filter_map(in_folder).filter(is_entry).collect()
}

/// Whether the code uses a path through the module: `name::Something`.
fn names_path(code: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&format!("{name}::")).any(|(at, _)| !code[..at].ends_with(part_of_word))
}

/// Only archs/<arch>.rs names an architecture.
pub fn architecture_names(tree: &Tree, findings: &mut Vec<Finding>) {
    let names = architectures(tree);
    let nameless = |file: &&Source| {
        NAMELESS.contains(&file.package()) && !file.path.starts_with(ARCHS) && file.path.contains("/src/")
    };
    for file in tree.rust().filter(nameless) {
        for (line, string) in file.strings.iter().filter(|(line, _)| !file.in_tests(*line)) {
            let named = names.iter().find(|name| {
                let rest = string.strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if let Some(name) = named {
                let message = format!("names the architecture `{name}`: what is special about it belongs in {ARCHS}");
                findings.push(Finding::error(&file.path, *line, message));
            }
        }
    }
}

/// The names that the architecture files declare: the string after each `name:`.
fn architectures(tree: &Tree) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in tree.rust().filter(|file| file.path.starts_with(ARCHS)) {
        let code: Vec<&str> = file.code.lines().collect();
        for (line, string) in &file.strings {
            let declares = code.get(line - 1).is_some_and(|code| code.trim_start().starts_with("name:"));
            if declares && !file.in_tests(*line) {
                names.insert(string.clone());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    const QWEN3: (&str, &str) =
        ("crates/model/src/archs/qwen3.rs", "//! Q\npub const QWEN3: Arch = Arch {\n    name: \"qwen3\",\n};\n");

    #[test]
    fn an_architecture_missing_from_its_list_is_caught() {
        let list = "crates/model/src/archs/mod.rs";
        let without = "mod qwen3;\npub const ARCHS: &[&Arch] = &[];\n";
        let with = "mod qwen3;\npub const ARCHS: &[&Arch] = &[&qwen3::QWEN3];\n";
        assert_eq!(findings("registered", &[QWEN3, (list, without)]).len(), 1);
        assert!(findings("registered", &[QWEN3, (list, with)]).is_empty());
        assert_eq!(findings("registered", &[QWEN3, (list, "const A: X = other_qwen3::Y;\n")]).len(), 1);
    }

    #[test]
    fn an_op_folder_missing_from_the_table_is_caught() {
        let op = ("crates/kernels/src/ops/softmax/reference.rs", "//! Plain truth.\n");
        assert_eq!(findings("registered", &[op]).len(), 1);
        assert_eq!(findings("registered", &[op, ("crates/kernels/src/table.rs", "")]).len(), 1);
        assert!(findings("registered", &[op, ("crates/kernels/src/table.rs", "row(softmax::ROW)")]).is_empty());
    }

    #[test]
    fn an_architecture_named_elsewhere_is_caught() {
        let named = "fn f() { if name == \"qwen3\" { g(\"qwen3.context_length\") } }\n";
        assert_eq!(findings("architecture-names", &[QWEN3, ("crates/engine/src/a.rs", named)]).len(), 2);
        assert!(findings("architecture-names", &[QWEN3, ("crates/engine/src/a.rs", "f(\"qwen3ish\");\n")]).is_empty());
        assert!(findings("architecture-names", &[QWEN3, ("crates/cli/src/a.rs", named)]).is_empty());
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{named}}}\n");
        assert!(findings("architecture-names", &[QWEN3, ("crates/engine/src/a.rs", &in_tests)]).is_empty());
    }
}
