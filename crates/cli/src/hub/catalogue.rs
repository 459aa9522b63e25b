//! The table of known models, `models.toml`, compiled into the program.

use anyhow::{Context, Result};
use serde::Deserialize;

/// One row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    /// What the user types.
    pub name: String,
    pub about: String,
    pub license: String,
    /// Name of the GGUF file in the cache.
    pub file: String,
    pub bytes: u64,
    /// In lower-case hexadecimal.
    pub sha256: String,
    pub parts: u32,
    package: String,
    version: String,
    member: String,
}

/// One package to fetch and the file in it to take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub package: String,
    pub version: String,
    pub member: String,
}

impl Model {
    /// The part with this index, counted from 0.
    pub(super) fn part(&self, index: u32) -> Part {
        let fill = |pattern: &str| {
            let (from_zero, from_one) = (format!("{index:02}"), format!("{:02}", index + 1));
            pattern.replace("{zz}", &from_zero).replace("{nn}", &from_one).replace("{n}", &(index + 1).to_string())
        };
        Part { package: fill(&self.package), version: self.version.clone(), member: fill(&self.member) }
    }
}

#[derive(Deserialize)]
struct Table {
    model: Vec<Model>,
}

/// All rows, in the order of the file.
pub(super) fn models() -> Result<Vec<Model>> {
    let table: Table = toml::from_str(include_str!("../../models.toml")).context("models.toml")?;
    Ok(table.model)
}

/// A model for tests: `parts` packages `part1`, `part2`, … with the member `data/part.bin`.
#[cfg(test)]
pub(super) fn sample(bytes: u64, sha256: &str, parts: u32) -> Model {
    Model {
        name: "sample".into(),
        about: "a sample".into(),
        license: "none".into(),
        file: "sample.gguf".into(),
        bytes,
        sha256: sha256.into(),
        parts,
        package: "part{n}".into(),
        version: "1".into(),
        member: "data/part.bin".into(),
    }
}
