//! `chaski explain`: every step of the plan, and why its kernel was chosen.

use std::io::Write;

use chaski::ExplainRow;

use crate::log::Log;
use crate::open;
use crate::settings::{Format, Settings};

/// Prints the plan.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut log = Log::open(&settings.output)?;
    let llm = open::llm(settings, &mut log)?;
    let rows = llm.explain();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if settings.output.format == Format::Json {
        let list: Vec<serde_json::Value> = rows.iter().map(json).collect();
        writeln!(out, "{:#}", serde_json::Value::from(list))?;
        return Ok(out.flush()?);
    }
    writeln!(out, "{} steps", rows.len())?;
    for row in &rows {
        writeln!(out, "{row:?}")?;
    }
    Ok(out.flush()?)
}

fn json(row: &ExplainRow) -> serde_json::Value {
    serde_json::json!({ "row": format!("{row:?}") })
}
