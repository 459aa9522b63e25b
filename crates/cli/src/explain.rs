//! `chaski explain`: every step of the plan, and why its kernel was chosen.

use std::io::Write;

use chaski::ExplainRow;
use engine::sampler::Sampler;
use serde_json::json;

use crate::log::Log;
use crate::settings::{Format, Settings};
use crate::{open, sampling, techniques, units};

/// Prints the plan. Steps that are alike (the same work in another layer) are one line, unless `-v` asks for all.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut log = Log::open(&settings.output)?;
    let llm = open::llm(settings, &mut log)?;
    let memory = llm.weight_memory();
    let steps: Vec<Step> = llm.explain().iter().map(Step::of).collect();
    let sampler = sampling::sampler(&llm, &settings.sampling)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if settings.output.format == Format::Json {
        let (kv_bytes, kv_token_bytes) = llm.kv_bytes();
        let list: Vec<serde_json::Value> = steps.iter().map(Step::json).collect();
        let weights = json!({
            "num_repacked": memory.num_repacked,
            "repacked_bytes": memory.repacked_bytes,
            "repacked_file_bytes": memory.repacked_file_bytes,
            "mapped_bytes": memory.mapped_bytes,
        });
        let cache = json!({ "bytes": kv_bytes, "bytes_per_token": kv_token_bytes });
        let techniques: Vec<serde_json::Value> = llm.techniques().iter().map(techniques::standing).collect();
        let report = json!({
            "num_steps": steps.len(),
            "steps": list,
            "techniques": techniques,
            "weights": weights,
            "sampler": sampler_json(&sampler),
            "kv_cache": cache,
        });
        writeln!(out, "{report:#}")?;
        return Ok(out.flush()?);
    }
    let lines =
        if settings.output.verbosity > 3 { steps.iter().map(|step| (step, 1)).collect() } else { alike(&steps) };
    table(&mut out, &lines)?;
    writeln!(out, "\n{} steps", steps.len())?;
    writeln!(
        out,
        "weights: {} of the file mapped; {} matrices repacked or copied, {} for {} of the file",
        units::bytes(memory.mapped_bytes as u64),
        memory.num_repacked,
        units::bytes(memory.repacked_bytes as u64),
        units::bytes(memory.repacked_file_bytes as u64),
    )?;
    let (kv_bytes, kv_token_bytes) = llm.kv_bytes();
    writeln!(out, "KV cache: {}, {kv_token_bytes} bytes per token", units::bytes(kv_bytes))?;
    if let (with_mean, pairs @ 1..) = llm.fitted_pairs() {
        writeln!(out, "keys: stored without the mean of {with_mean} of {pairs} pairs of channels")?;
    }
    sampler_lines(&mut out, &sampler)?;
    techniques::standings(&mut out, llm.techniques())?;
    Ok(out.flush()?)
}

/// The stages in order, which of them a technique does, and which technique cannot, and why.
fn sampler_lines(out: &mut impl Write, sampler: &Sampler) -> std::io::Result<()> {
    let stages: Vec<&str> = sampler.stages().collect();
    writeln!(out, "\nsampler\n  {}", stages.join(" → "))?;
    if let Some(technique) = sampler.technique() {
        writeln!(out, "  {} by {technique}", stages[..sampler.num_begun()].join(" → "))?;
    }
    for (technique, why) in sampler.refusals() {
        writeln!(out, "  the chain itself, not {technique}: {why}")?;
    }
    Ok(())
}

fn sampler_json(sampler: &Sampler) -> serde_json::Value {
    let stages: Vec<&str> = sampler.stages().collect();
    let refusals = sampler.refusals().iter().map(|(technique, why)| json!({ "technique": technique, "reason": why }));
    json!({
        "stages": stages,
        "technique": sampler.technique(),
        "num_begun": sampler.num_begun(),
        "refusals": refusals.collect::<Vec<_>>(),
    })
}

/// The columns of the table, behind the count.
const HEAD: [&str; 8] = ["plan", "first", "op", "shape", "variant", "exactness", "runner-up", "reason"];
/// The column that tells steps of different layers apart.
const NAME: usize = 1;

/// A step as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// How many rows the plan is for: `decode`, `few` or `prefill`.
    regime: String,
    /// The node, mostly the name of its weight.
    name: String,
    op: String,
    shape: String,
    variant: String,
    technique: Option<&'static str>,
    exactness: String,
    reason: String,
    runner_up: Option<String>,
}

impl Step {
    fn of(row: &ExplainRow) -> Step {
        Step {
            regime: row.regime.to_owned(),
            name: row.name.clone(),
            op: row.op.to_owned(),
            shape: row.shape.clone(),
            variant: row.variant.to_owned(),
            technique: row.technique,
            exactness: row.exactness.clone(),
            reason: row.reason.clone(),
            runner_up: row.runner_up.map(str::to_owned),
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "regime": self.regime,
            "name": self.name,
            "op": self.op,
            "shape": self.shape,
            "variant": self.variant,
            "technique": self.technique,
            "exactness": self.exactness,
            "reason": self.reason,
            "runner_up": self.runner_up,
        })
    }

    fn cells(&self) -> [&str; 8] {
        let runner_up = self.runner_up.as_deref().unwrap_or("-");
        [&self.regime, &self.name, &self.op, &self.shape, &self.variant, &self.exactness, runner_up, &self.reason]
    }

    /// Whether the other does the same work, in another layer.
    fn is_like(&self, other: &Step) -> bool {
        self.cells().iter().zip(other.cells()).enumerate().all(|(column, (a, b))| column == NAME || *a == b)
    }
}

/// Each different step once, in the order of its first occurrence, with its count.
fn alike(steps: &[Step]) -> Vec<(&Step, usize)> {
    let mut lines: Vec<(&Step, usize)> = Vec::new();
    for step in steps {
        match lines.iter_mut().find(|(known, _)| known.is_like(step)) {
            Some((_, count)) => *count += 1,
            None => lines.push((step, 1)),
        }
    }
    lines
}

fn table(out: &mut impl Write, lines: &[(&Step, usize)]) -> std::io::Result<()> {
    let width = |column: usize| {
        let cells = lines.iter().map(|(step, _)| step.cells()[column]);
        cells.chain([HEAD[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len() - 1).map(width).collect();
    let mut line = |count: &str, cells: [&str; 8]| {
        write!(out, "{count:>5}")?;
        for (cell, width) in cells.iter().zip(&widths) {
            write!(out, "  {cell:width$}")?;
        }
        writeln!(out, "  {}", cells[HEAD.len() - 1])
    };
    line("times", HEAD)?;
    lines.iter().try_for_each(|(step, count)| line(&count.to_string(), step.cells()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, op: &str, runner_up: Option<&str>) -> Step {
        Step {
            regime: "decode".into(),
            name: name.into(),
            op: op.into(),
            shape: "[n, 64]".into(),
            variant: format!("{op}/f32/avx2"),
            technique: None,
            exactness: "bitwise".into(),
            reason: "first in preference order".into(),
            runner_up: runner_up.map(str::to_owned),
        }
    }

    #[test]
    fn steps_that_are_alike_are_one_line() {
        let steps =
            [step("a.0", "norm", None), step("b", "matmul", Some("matmul/f32/scalar")), step("a.1", "norm", None)];
        let mut out = Vec::new();
        table(&mut out, &alike(&steps)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "\
times  plan    first  op      shape    variant          exactness  runner-up          reason
    2  decode  a.0    norm    [n, 64]  norm/f32/avx2    bitwise    -                  first in preference order
    1  decode  b      matmul  [n, 64]  matmul/f32/avx2  bitwise    matmul/f32/scalar  first in preference order
";
        assert_eq!(text, expected);
    }
}
