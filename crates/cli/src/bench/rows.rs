//! Rows of results in the shape that was asked for: lines of a table, JSON, JSON lines or CSV. Called by both kinds of
//! `bench`.

use std::io::Write;

use serde_json::{Map, Value as Json};

use crate::settings::Format;

/// Writes rows one by one, as they come.
pub struct Rows<W: Write> {
    out: W,
    format: Format,
    num_rows: usize,
}

impl<W: Write> Rows<W> {
    pub fn new(out: W, format: Format) -> Rows<W> {
        Rows { out, format, num_rows: 0 }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes one row: as `line`, below `head` where it is the first, or as its fields.
    pub fn add(&mut self, head: &str, line: &str, fields: &Map<String, Json>) -> anyhow::Result<()> {
        let first = self.num_rows == 0;
        self.num_rows += 1;
        match self.format {
            Format::Text if first => writeln!(self.out, "{head}\n{line}")?,
            Format::Text => writeln!(self.out, "{line}")?,
            Format::Json => {
                let text = serde_json::to_string_pretty(fields)?.replace('\n', "\n  ");
                write!(self.out, "{}\n  {text}", if first { "[" } else { "," })?;
            }
            Format::JsonLines => writeln!(self.out, "{}", serde_json::to_string(fields)?)?,
            Format::Csv => {
                if first {
                    writeln!(self.out, "{}", fields.keys().cloned().collect::<Vec<_>>().join(","))?;
                }
                writeln!(self.out, "{}", fields.values().map(csv).collect::<Vec<_>>().join(","))?;
            }
        }
        Ok(self.out.flush()?)
    }

    /// Ends the list; below a table stands `foot`.
    pub fn finish(mut self, foot: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Json if self.num_rows == 0 => writeln!(self.out, "[]")?,
            Format::Json => writeln!(self.out, "\n]")?,
            Format::Text => writeln!(self.out, "{foot}")?,
            Format::JsonLines | Format::Csv => {}
        }
        Ok(self.out.flush()?)
    }
}

fn csv(value: &Json) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("\"{}\"", text.replace('"', "\"\""))
}
