//! `chaski models`: the models that have a short name, and those in the cache.

use std::io::Write;

use crate::settings::{Format, Settings};
use crate::{source, units};

/// Prints one line per model.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let hub = source::hub(&settings.model)?;
    let entries = hub.list()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if settings.output.format == Format::Json {
        let list: Vec<serde_json::Value> = entries
            .iter()
            .map(|entry| {
                serde_json::json!({
                    "name": entry.name,
                    "about": entry.about,
                    "license": entry.license,
                    "bytes": entry.bytes,
                    "path": entry.path.as_ref().map(|path| path.display().to_string()),
                })
            })
            .collect();
        writeln!(out, "{:#}", serde_json::Value::from(list))?;
        return Ok(out.flush()?);
    }
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in &entries {
        let (here, bytes) = (if entry.path.is_some() { "here" } else { "-" }, units::bytes(entry.bytes));
        writeln!(out, "{:width$}  {here:<4}  {bytes:>10}  {} ({})", entry.name, entry.about, entry.license)?;
    }
    writeln!(out, "\ncache: {}", hub.cache_root.join("models").display())?;
    Ok(out.flush()?)
}
