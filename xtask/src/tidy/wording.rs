//! Rules about what no text may say, whatever kind of file. Called through [`super::RULES`].

use super::Finding;
use super::source::Tree;

/// What no text may hold. Cut in two so that this file does not break its own rule.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("/wor", "k/", "a machine path"),
    ("/tm", "p/", "a machine path"),
    ("/hom", "e/", "a machine path"),
    ("/roo", "t/", "a machine path"),
    ("/Use", "rs/", "a machine path"),
    ("py", "pi.org", "a package-registry host"),
    ("python", "hosted.org", "a package-registry host"),
    ("crates", ".io/api", "a package-registry host"),
    ("static.", "crates.io", "a package-registry host"),
    ("index.", "crates.io", "a package-registry host"),
    ("registry.", "npmjs.org", "a package-registry host"),
    ("deb.", "debian.org", "a package-registry host"),
];

/// No machine paths and no registry hosts.
pub fn places(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (at, line) in file.text.lines().enumerate() {
            for (head, tail, what) in FORBIDDEN {
                let needle = [*head, *tail].concat();
                if line.contains(&needle) {
                    findings.push(Finding::error(&file.path, at + 1, format!("`{needle}` is {what}")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    #[test]
    fn machine_paths_and_registry_hosts_are_caught() {
        for text in [["see /wor", "k/main\n"], ["cd /tm", "p/x\n"], ["https://py", "pi.org/simple\n"]] {
            assert_eq!(findings("wording", &[("README.md", &text.concat())]).len(), 1, "{text:?}");
        }
        assert!(findings("wording", &[("README.md", "the work of a machine\n")]).is_empty());
    }
}
