//! The *Measured* block of a technique's README, written from the `measured.json` beside it: where and with what
//! command something was measured, and tables as the bench left them. Called by `docs`, and by the benches.

use crate::bench::machine;
use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- Measured: written by `cargo xtask docs` from measured.json; do not edit. -->\n";
const END: &str = "<!-- End of what was measured. -->";

const FOLDER: &str = "crates/techniques/src";

/// Keeps what was measured of a technique beside it, writes the pages anew, and prints the block.
pub fn keep(root: &Path, technique: &str, measured: &Json) -> Result<()> {
    let path = root.join(FOLDER).join(technique).join("measured.json");
    fs::write(&path, format!("{measured:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    for (readme, text) in pages(root)? {
        fs::write(&readme, &text).with_context(|| format!("cannot write {}", readme.display()))?;
    }
    println!("{}", block(measured));
    Ok(())
}

/// Every README with a `measured.json` beside it, and its text with a fresh block.
pub fn pages(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folder = root.join(FOLDER);
    let mut pages = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let technique = entry?.path();
        let (figures, readme) = (technique.join("measured.json"), technique.join("README.md"));
        if !figures.exists() {
            continue;
        }
        let text = fs::read_to_string(&figures)?;
        let measured: Json = serde_json::from_str(&text).with_context(|| figures.display().to_string())?;
        let page = fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
        let fresh = replace(&page, &block(&measured)).with_context(|| readme.display().to_string())?;
        pages.push((readme, fresh));
    }
    pages.sort();
    Ok(pages)
}

fn replace(page: &str, block: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("has no line `{}`", BEGIN.trim_end()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("has no line `{END}`"))?;
    ensure!(!after.contains(BEGIN), "has two blocks");
    Ok(format!("{before}{BEGIN}{block}{END}{after}"))
}

/// The block for what was measured.
fn block(measured: &Json) -> String {
    let text = |key: &str| measured[key].as_str().unwrap_or("?");
    let mut block =
        format!("`{}`, {}, on {}.\n\n", text("command"), text("date"), machine::sentence(&measured["machine"]));
    for table in measured["tables"].as_array().into_iter().flatten() {
        let cells = |row: &Json| row.as_array().into_iter().flatten().map(cell).collect::<Vec<_>>();
        let columns = cells(&table["columns"]);
        let rule: Vec<&str> = (0..columns.len()).map(|nth| if nth == 0 { "---" } else { "---:" }).collect();
        block.push_str(&format!("{}\n\n", cell(&table["title"])));
        block.push_str(&format!("| {} |\n|{}|\n", columns.join(" | "), rule.join("|")));
        for row in table["rows"].as_array().into_iter().flatten() {
            block.push_str(&format!("| {} |\n", cells(row).join(" | ")));
        }
        block.push('\n');
    }
    block
}

fn cell(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_block_is_replaced_and_nothing_else() {
        let measured = json!({
            "command": "cargo xtask bench x", "date": "2026-01-31",
            "machine": { "name": "A CPU", "num_cores": 2, "memory_bytes": 1u64 << 31, "features": [], "system": "linux" },
            "tables": [{ "title": "Times.", "columns": ["row", "us"], "rows": [["a", 1.5], ["b", "2"]] }],
        });
        let page = format!("# T\n{BEGIN}old\n{END}\n## References\n");
        let fresh = replace(&page, &block(&measured)).unwrap();
        let table = "Times.\n\n| row | us |\n|---|---:|\n| a | 1.5 |\n| b | 2 |\n\n";
        assert!(
            fresh.starts_with(&format!("# T\n{BEGIN}`cargo xtask bench x`, 2026-01-31, on A CPU, 2 cores")),
            "{fresh}"
        );
        assert!(fresh.ends_with(&format!("{table}{END}\n## References\n")), "{fresh}");
        assert!(replace("# T\n", "x").is_err());
    }
}
