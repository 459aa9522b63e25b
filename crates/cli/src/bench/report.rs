//! Results of `bench` in llama-bench's shapes: a Markdown table, JSON, JSON lines, CSV, with its field names.

use std::io::Write;

use chaski::OpCount;
use evidence::measure::Summary;
use serde_json::{Map, Value as Json, json};

use super::rows::Rows;
use super::subject::Card;
use super::{Job, Test};
use crate::op_table;
use crate::settings::Format;

/// One test, measured.
pub struct Outcome<'a> {
    pub subject: &'a Card,
    pub job: &'a Job,
    pub test: Test,
    /// When it began, as `2026-01-31T12:00:00Z`.
    pub time: String,
    /// Layers on the GPU.
    pub gpu_layers: u32,
    pub samples_ns: Vec<u64>,
    /// Where the time went; empty unless asked for.
    pub ops: Vec<OpCount>,
    /// Whether those were timed on a GPU, each by itself, in steps other than those of the samples.
    pub ops_apart: bool,
}

/// Writes outcomes one by one, as they come.
pub struct Report<W: Write> {
    rows: Rows<W>,
    columns: Vec<Column>,
    /// Printed behind the table.
    ops: Vec<String>,
}

/// Columns of the table that are shown only when they tell tests apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    Batch,
    Ubatch,
    TypeK,
    TypeV,
    Plan,
    Isa,
}

impl<W: Write> Report<W> {
    pub fn new(out: W, format: Format, columns: Vec<Column>) -> Report<W> {
        Report { rows: Rows::new(out, format), columns, ops: Vec::new() }
    }

    /// Writes one test.
    pub fn add(&mut self, outcome: &Outcome<'_>) -> anyhow::Result<()> {
        let head = self.table_head();
        let row = self.table_row(outcome);
        let lines = op_table::lines(&outcome.ops, outcome.subject.ceilings.as_ref());
        if !lines.is_empty() {
            let whole = outcome.whole_step();
            self.ops.push(format!("\n{}\n{}\n{whole}", outcome.test, lines.join("\n")));
        }
        let with_samples = self.rows.format() != Format::Csv;
        self.rows.add(&head, &row, &outcome.fields(with_samples))
    }

    /// Writes what stands after the last test.
    pub fn finish(self) -> anyhow::Result<()> {
        let build = concat!("\nbuild: chaski ", env!("CARGO_PKG_VERSION"));
        self.rows.finish(&format!("{}{build}", self.ops.concat()))
    }

    fn table_head(&self) -> String {
        let columns = self.table_columns();
        let names: Vec<String> = columns.iter().map(|(name, width)| pad(name, *width)).collect();
        let rules: Vec<String> = columns
            .iter()
            .map(|(_, width)| format!("{}{}", "-".repeat(width.unsigned_abs() - 1), if *width > 0 { ':' } else { '-' }))
            .collect();
        format!("| {} |\n| {} |", names.join(" | "), rules.join(" | "))
    }

    fn table_row(&self, outcome: &Outcome<'_>) -> String {
        let (subject, job) = (outcome.subject, outcome.job);
        let speed = outcome.speed();
        let mut cells = vec![
            subject.model_type.clone(),
            two_digits(subject.weight_bytes as f64, 1024.0, &[(2, "MiB"), (3, "GiB")]),
            two_digits(subject.num_parameters as f64, 1000.0, &[(2, "M"), (3, "B")]),
            outcome.backend().to_owned(),
            job.threads.to_string(),
        ];
        cells.extend(self.columns.iter().map(|column| job.cell(*column)));
        cells.push(outcome.test.to_string());
        cells.push(format!("{:.2} ± {:.2}", speed.mean, speed.stddev));
        let widths = self.table_columns();
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, (_, width))| pad(cell, *width)).collect();
        format!("| {} |", cells.join(" | "))
    }

    /// Names and widths; a negative width stands to the left.
    fn table_columns(&self) -> Vec<(&'static str, isize)> {
        let mut columns = vec![("model", -30), ("size", 10), ("params", 10), ("backend", -10), ("threads", 7)];
        columns.extend(self.columns.iter().map(|column| match column {
            Column::Batch => ("n_batch", 7),
            Column::Ubatch => ("n_ubatch", 8),
            Column::TypeK => ("type_k", 6),
            Column::TypeV => ("type_v", 6),
            Column::Plan => ("plan", -9),
            Column::Isa => ("isa", -7),
        }));
        columns.extend([("test", 15), ("t/s", 20)]);
        columns
    }
}

impl Outcome<'_> {
    /// As llama-bench calls what computes.
    fn backend(&self) -> &'static str {
        if self.gpu_layers > 0 { "CUDA" } else { "CPU" }
    }

    /// A line that holds the time of whole steps against the sum of their kernels, where these were timed apart.
    fn whole_step(&self) -> String {
        if !self.ops_apart || self.test.prompt * self.test.generate > 0 || self.ops.is_empty() {
            return String::new();
        }
        let per_sample = self.test.prompt.div_ceil(self.job.ubatch) + self.test.generate;
        let mut times: Vec<f64> = self.samples_ns.iter().map(|ns| *ns as f64 / 1e3 / per_sample as f64).collect();
        times.sort_by(f64::total_cmp);
        op_table::whole_step(&self.ops, times.get(times.len() / 2).copied().unwrap_or(0.0))
    }

    /// Tokens per second, sample by sample.
    fn samples_ts(&self) -> Vec<f64> {
        let tokens = (self.test.prompt + self.test.generate) as f64;
        self.samples_ns.iter().map(|ns| 1e9 * tokens / (*ns).max(1) as f64).collect()
    }

    fn speed(&self) -> Spread {
        Spread::of(&self.samples_ts())
    }

    /// llama-bench's fields in its order, without those of backends and devices that do not exist here.
    fn fields(&self, with_samples: bool) -> Map<String, Json> {
        let (subject, job, test) = (self.subject, self.job, self.test);
        let times: Vec<f64> = self.samples_ns.iter().map(|ns| *ns as f64).collect();
        let (time, speed) = (Spread::of(&times), self.speed());
        let fields = json!({
            "build_commit": concat!("chaski-", env!("CARGO_PKG_VERSION")),
            "build_number": 0,
            "cpu_info": subject.cpu,
            "gpu_info": subject.gpu,
            "backends": self.backend(),
            "model_filename": subject.filename,
            "model_type": subject.model_type,
            "model_size": subject.weight_bytes,
            "model_n_params": subject.num_parameters,
            "n_batch": job.batch,
            "n_ubatch": job.ubatch,
            "n_threads": job.threads,
            "type_k": job.cell(Column::TypeK),
            "type_v": job.cell(Column::TypeV),
            "n_gpu_layers": self.gpu_layers,
            "plan": job.cell(Column::Plan),
            "isa": job.cell(Column::Isa),
            "n_prompt": test.prompt,
            "n_gen": test.generate,
            "n_depth": test.depth,
            "test_time": self.time,
            "avg_ns": time.mean.round() as u64,
            "stddev_ns": time.stddev.round() as u64,
            "avg_ts": speed.mean,
            "stddev_ts": speed.stddev,
        });
        let Json::Object(mut fields) = fields else { return Map::new() };
        if with_samples {
            fields.insert("samples_ns".into(), json!(self.samples_ns));
            fields.insert("samples_ts".into(), json!(self.samples_ts()));
            if !self.ops.is_empty() {
                fields.insert("ops".into(), op_table::json(&self.ops, self.subject.ceilings.as_ref()));
            }
        }
        fields
    }
}

/// Mean and standard deviation; zero without samples.
struct Spread {
    mean: f64,
    stddev: f64,
}

impl Spread {
    fn of(samples: &[f64]) -> Spread {
        match Summary::of(samples) {
            Some(summary) => Spread { mean: summary.mean, stddev: summary.stddev },
            None => Spread { mean: 0.0, stddev: 0.0 },
        }
    }
}

/// `92.10 MiB`: two digits behind the point, in the smaller of two units below 1 of the larger.
fn two_digits(value: f64, base: f64, units: &[(i32, &str); 2]) -> String {
    let (power, unit) = if value < base.powi(units[1].0) { units[0] } else { units[1] };
    format!("{:.2} {unit}", value / base.powi(power))
}

fn pad(text: &str, width: isize) -> String {
    let size = width.unsigned_abs();
    if width < 0 { format!("{text:<size$}") } else { format!("{text:>size$}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Load;
    use kernels::KvType;

    fn written(format: Format) -> String {
        let subject = Card {
            filename: "m.gguf".into(),
            model_type: "llama 135M Q4_1".into(),
            weight_bytes: 96_576_768,
            num_parameters: 134_515_008,
            cpu: "A \"CPU\"".into(),
            gpu: String::new(),
            ceilings: None,
        };
        let job = Job {
            load: Load::default(),
            threads: 2,
            batch: 2048,
            ubatch: 512,
            kv_type_k: KvType::F16,
            kv_type_v: KvType::F16,
        };
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, format, vec![Column::Plan]);
        for test in [Test { prompt: 16, generate: 0, depth: 0 }, Test { prompt: 8, generate: 4, depth: 32 }] {
            let outcome = Outcome {
                subject: &subject,
                job: &job,
                test,
                time: "2026-01-31T12:00:00Z".into(),
                gpu_layers: 0,
                samples_ns: vec![1_000_000_000, 2_000_000_000],
                ops: Vec::new(),
                ops_apart: false,
            };
            report.add(&outcome).unwrap();
        }
        report.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_llama_benchs() {
        let text = written(Format::Text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "| model                          |       size |     params | backend    | threads | plan      |            test |                  t/s |"
        );
        assert_eq!(
            lines[1],
            "| ------------------------------ | ---------: | ---------: | ---------- | ------: | --------- | --------------: | -------------------: |"
        );
        assert_eq!(
            lines[2],
            "| llama 135M Q4_1                |  92.10 MiB |   134.52 M | CPU        |       2 | baseline  |            pp16 |         12.00 ± 5.66 |"
        );
        assert!(lines[3].contains("|   pp8+tg4 @ d32 |"), "{}", lines[3]);
    }

    #[test]
    fn json_is_a_list_with_llama_benchs_fields() {
        let list: Vec<Map<String, Json>> = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[1]["n_depth"], 32);
        assert_eq!(list[0]["avg_ns"], 1_500_000_000u64);
        assert_eq!(list[0]["samples_ts"], json!([16.0, 8.0]));
        for line in written(Format::JsonLines).lines() {
            let row: Map<String, Json> = serde_json::from_str(line).unwrap();
            assert_eq!(row["model_type"], "llama 135M Q4_1");
        }
    }

    #[test]
    fn csv_quotes_every_value() {
        let text = written(Format::Csv);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("build_commit,build_number,cpu_info,"));
        assert!(lines[1].contains(r#","A ""CPU""","#), "{}", lines[1]);
        assert_eq!(lines[1].matches("\",\"").count() + 1, lines[0].split(',').count());
    }
}
