//! Rules about registries: everything that exists stands in its list, and only its own file names an architecture.
//! Called through [`super::RULES`].

use super::Finding;
use super::source::{Source, Tree};
use std::collections::BTreeSet;

/// A folder whose entries must each stand in one hand-written list.
struct Registry {
    folder: &'static str,
    /// What an entry's own code holds; files and folders without it are not entries.
    declares: &'static str,
    /// The file with the list.
    list: &'static str,
    /// What the list holds for an entry of this name.
    names: fn(&str) -> String,
}

const REGISTRIES: &[Registry] = &[
    Registry {
        folder: ARCHS,
        declares: ": Arch = ",
        list: "crates/model/src/archs/mod.rs",
        names: |file| format!("{file}::"),
    },
    Registry {
        folder: "crates/kernels/src/ops/",
        declares: "impl Op for ",
        list: "crates/kernels/src/table.rs",
        names: |folder| format!("ops::{}>", camel_case(folder)),
    },
    Registry {
        folder: "crates/engine/src/sampler/",
        declares: "const STAGE: StageSpec",
        list: "crates/engine/src/sampler/registry.rs",
        names: |file| format!("{file}::STAGE"),
    },
    Registry {
        folder: "crates/techniques/src/",
        declares: ": Technique = ",
        list: "crates/techniques/src/lib.rs",
        names: |folder| format!("{folder}::TECHNIQUE"),
    },
];

const ARCHS: &str = "crates/model/src/archs/";

/// The description language itself, which holds the base that all others start from.
const ARCH_LANGUAGE: &str = "crates/model/src/arch.rs";

/// Crates that must not know any architecture by name.
const NAMELESS: &[&str] = &["model", "engine", "kernels"];

/// Each entry of a registry's folder stands in its list.
pub fn registered(tree: &Tree, findings: &mut Vec<Finding>) {
    for registry in REGISTRIES {
        let list = tree.file(registry.list).map_or("", |list| &list.code);
        for entry in entries(tree, registry) {
            if !mentions(list, &(registry.names)(&entry)) {
                let message = format!("{}{entry} does not stand in this list", registry.folder);
                findings.push(Finding::error(registry.list, 0, message));
            }
        }
    }
}

/// The modules in a registry's folder, files or folders, that declare what the registry lists.
fn entries(tree: &Tree, registry: &Registry) -> BTreeSet<String> {
    let declares = |file: &&Source| file.code_lines().any(|(_, line)| line.contains(registry.declares));
    let name = |file: &Source| {
        let rest = file.path.strip_prefix(registry.folder)?;
        let name = rest.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name).to_string())
    };
    tree.rust().filter(declares).filter_map(name).filter(|name| name != "mod").collect()
}

/// Whether the code holds the needle as it stands, not as the tail of a longer name.
fn mentions(code: &str, needle: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(needle).any(|(at, _)| !code[..at].ends_with(part_of_word))
}

/// `kv_store` as the type is named: `KvStore`.
fn camel_case(name: &str) -> String {
    let capital = |part: &str| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_uppercase() + rest
    };
    name.split('_').map(capital).collect()
}

/// Only archs/<arch>.rs names an architecture.
pub fn architecture_names(tree: &Tree, findings: &mut Vec<Finding>) {
    let names = architectures(tree);
    let nameless = |file: &&Source| {
        let speaks_of_them = file.path.starts_with(ARCHS) || file.path == ARCH_LANGUAGE;
        NAMELESS.contains(&file.package()) && !speaks_of_them && file.path.contains("/src/")
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

/// The names of the architectures: those of the registered files.
fn architectures(tree: &Tree) -> BTreeSet<String> {
    REGISTRIES.iter().filter(|registry| registry.folder == ARCHS).flat_map(|archs| entries(tree, archs)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    const QWEN3: (&str, &str) =
        ("crates/model/src/archs/qwen3.rs", "//! Q\npub const QWEN3: Arch = Arch { name: \"qwen3\" };\n");

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
        let op = ("crates/kernels/src/ops/kv_store/mod.rs", "//! Stores.\nimpl Op for KvStore {}\n");
        let table = "crates/kernels/src/table.rs";
        assert_eq!(findings("registered", &[op]).len(), 1);
        assert_eq!(findings("registered", &[op, (table, "op_row::<ops::KvStored>()\n")]).len(), 1);
        assert!(findings("registered", &[op, (table, "op_row::<ops::KvStore>()\n")]).is_empty());
    }

    #[test]
    fn a_sampler_stage_missing_from_the_list_is_caught() {
        let stage = ("crates/engine/src/sampler/top_k.rs", "//! K.\npub const STAGE: StageSpec = X;\n");
        let other = ("crates/engine/src/sampler/journal.rs", "//! What was done.\nstruct Journal;\n");
        let list = "crates/engine/src/sampler/registry.rs";
        assert_eq!(findings("registered", &[stage, other, (list, "")]).len(), 1);
        assert!(findings("registered", &[stage, other, (list, "&top_k::STAGE,")]).is_empty());
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
