//! Rules about crates: which may use which, and what only some of them may touch. Called through [`super::RULES`].

use super::Finding;
use super::source::Tree;

/// The floors, lowest first (ARCHITECTURE.md). A crate uses only floors below its own.
const FLOORS: &[&[&str]] = &[
    &["gguf", "device"],
    &["kernels", "text"],
    &["model"],
    &["engine"],
    &["techniques", "evidence"],
    &["server"],
    &["chaski"],
    &["cli", "capi"],
];

/// Packages beside the house: nobody may use them, and they may use any floor.
const BESIDE: &[&str] = &["xtask"];

/// Who may read the environment and the command line.
const FRONT_DOORS: &[&str] = &["cli", "capi", "xtask"];

/// A crate depends only on lower floors.
pub fn floors(tree: &Tree, findings: &mut Vec<Finding>) {
    let floor = |name: &str| FLOORS.iter().position(|crates| crates.contains(&name));
    for edge in &tree.edges {
        let manifest = format!("crates/{}/Cargo.toml", edge.from);
        if BESIDE.contains(&edge.to.as_str()) {
            findings.push(Finding::error(&manifest, 0, format!("`{}` is a tool, not a library", edge.to)));
        }
        if BESIDE.contains(&edge.from.as_str()) {
            continue;
        }
        let Some(from) = floor(&edge.from) else {
            let message = format!("`{}` stands on no floor; add it to FLOORS and to ARCHITECTURE.md", edge.from);
            findings.push(Finding::error(&manifest, 0, message));
            continue;
        };
        if let Some(to) = floor(&edge.to)
            && to >= from
        {
            let message =
                format!("`{}` (floor {from}) must not use `{}` (floor {to}): only lower floors", edge.from, edge.to);
            findings.push(Finding::error(&manifest, 0, message));
        }
    }
}

/// Every package takes the workspace's lints.
pub fn lints(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        let taken = lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]);
        if !taken && !file.is_test() {
            findings.push(Finding::error(&file.path, 0, "takes no workspace lints: add `[lints]` `workspace = true`"));
        }
    }
}

/// Only front doors read the environment or the command line.
pub fn environment(tree: &Tree, findings: &mut Vec<Finding>) {
    const READS: &[&str] = &["std::env", "env::var", "env::args", "env::current_dir", "env::home_dir"];
    forbid_outside(tree, FRONT_DOORS, READS, "reads the environment", findings);
}

/// CPU features are asked for in `device`, which probes the machine once.
pub fn cpu_features(tree: &Tree, findings: &mut Vec<Finding>) {
    const ASKS: &[&str] = &["is_x86_feature_detected!", "is_aarch64_feature_detected!", "__cpuid("];
    forbid_outside(tree, &["device"], ASKS, "asks the CPU for a feature", findings);
}

fn forbid_outside(tree: &Tree, allowed: &[&str], needles: &[&str], what: &str, findings: &mut Vec<Finding>) {
    for file in tree.rust().filter(|file| !allowed.contains(&file.package())) {
        for (at, line) in file.code_lines() {
            if let Some(needle) = needles.iter().find(|needle| line.contains(**needle)) {
                let message = format!("`{needle}` {what}; only {} may", allowed.join(", "));
                findings.push(Finding::error(&file.path, at, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Edge;
    use super::super::tests::findings;
    use super::*;

    fn floor_findings(edges: &[(&str, &str)]) -> Vec<Finding> {
        let mut tree = Tree::of(&[]);
        tree.edges = edges.iter().map(|(from, to)| Edge { from: (*from).into(), to: (*to).into() }).collect();
        let mut found = Vec::new();
        floors(&tree, &mut found);
        found
    }

    #[test]
    fn an_edge_upwards_or_sideways_is_caught() {
        assert_eq!(floor_findings(&[("gguf", "engine")]).len(), 1);
        assert_eq!(floor_findings(&[("kernels", "text")]).len(), 1);
        assert_eq!(floor_findings(&[("evidence", "techniques")]).len(), 1);
        assert_eq!(floor_findings(&[("chaski", "cli")]).len(), 1);
        assert!(floor_findings(&[("engine", "kernels"), ("cli", "gguf"), ("gguf", "half")]).is_empty());
    }

    #[test]
    fn an_unknown_crate_is_caught_and_xtask_is_nobodys_library() {
        assert_eq!(floor_findings(&[("attic", "gguf")]).len(), 1);
        assert_eq!(floor_findings(&[("cli", "xtask")]).len(), 1);
        assert!(floor_findings(&[("xtask", "gguf")]).is_empty());
    }

    #[test]
    fn a_package_without_lints_is_caught() {
        assert_eq!(findings("lints", &[("crates/a/Cargo.toml", "[package]\nname = \"a\"\n")]).len(), 1);
        assert!(findings("lints", &[("crates/a/Cargo.toml", "[lints]\nworkspace = true\n")]).is_empty());
    }

    #[test]
    fn an_environment_read_below_the_front_door_is_caught() {
        let read = "fn f() { let x = std::env::var(\"X\"); }\n";
        assert_eq!(findings("environment", &[("crates/engine/src/a.rs", read)]).len(), 1);
        assert!(findings("environment", &[("crates/cli/src/a.rs", read)]).is_empty());
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{read}}}\n");
        assert!(findings("environment", &[("crates/engine/src/a.rs", &in_tests)]).is_empty());
        assert!(findings("environment", &[("crates/engine/src/a.rs", "// std::env::var\n")]).is_empty());
    }

    #[test]
    fn a_cpu_feature_test_outside_device_is_caught() {
        let asks = "fn f() -> bool { is_x86_feature_detected!(\"avx2\") }\n";
        assert_eq!(findings("cpu-features", &[("crates/kernels/src/a.rs", asks)]).len(), 1);
        assert!(findings("cpu-features", &[("crates/device/src/hardware.rs", asks)]).is_empty());
    }
}
