//! The report as a table for the terminal. Called by the `ab` command.

use std::fmt::Write;

use super::{Report, Side, bytes, percent, times};
use crate::quality::Quality;

/// A line of the table: what, and how it is for a, b and both together.
type Row = [String; 4];

/// The report, ready to be printed.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    let Report { model, machine, judgement, .. } = report;
    let _ = writeln!(out, "{} on {}, {} cores", model.file, machine.cpu, machine.cores);
    for (name, side) in [("a", &report.a), ("b", &report.b)] {
        let _ = writeln!(out, "{name}: {}", configuration(side));
    }
    section(&mut out, ["speed", "a", "b", "b to a"], speed(report));
    section(&mut out, ["memory", "a", "b", "b to a"], memory(report));
    let text = &report.text;
    let heading = format!("against the exact plan, {} × {} tokens", text.chunks, text.context);
    section(&mut out, [&heading, "a", "b", ""], quality(report));
    let _ = writeln!(out, "\nneedles: {}", report.needle_sentence());
    for (name, side) in [("a", &report.a), ("b", &report.b)] {
        for notice in &side.notices {
            let _ = writeln!(out, "{name}: {notice}");
        }
    }
    let _ = writeln!(out, "\nb {}", judgement.verdict);
    for reason in judgement.reasons.iter().chain(&judgement.notes) {
        let _ = writeln!(out, "  {reason}");
    }
    out
}

/// The flags, and the techniques that are not simply off.
pub(super) fn configuration(side: &Side) -> String {
    let flags = if side.flags.is_empty() { "the baseline" } else { &side.flags };
    let on: Vec<String> = side
        .techniques
        .iter()
        .filter(|standing| standing.state != "off")
        .map(|standing| format!("{} {}", standing.id, standing.state))
        .collect();
    if on.is_empty() { flags.to_owned() } else { format!("{flags} ({})", on.join(", ")) }
}

pub(super) fn speed(report: &Report) -> Vec<Row> {
    let row = |row: &super::Speed| [row.name.clone(), row.told(&row.a_s), row.told(&row.b_s), times(&row.speedup)];
    report.speed.iter().map(row).collect()
}

pub(super) fn memory(report: &Report) -> Vec<Row> {
    let (a, b) = (&report.a.memory, &report.b.memory);
    let row = |name: &str, a: Option<u64>, b: Option<u64>| {
        let told = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), bytes);
        let ratio = a.zip(b).filter(|(a, _)| *a > 0).map(|(a, b)| format!("{:.3}×", b as f64 / a as f64));
        [name.to_owned(), told(a), told(b), ratio.unwrap_or_default()]
    };
    vec![
        row("weights", Some(a.weights_bytes), Some(b.weights_bytes)),
        row("cache of a token", Some(a.kv_token_bytes), Some(b.kv_token_bytes)),
        row("peak", a.peak_bytes, b.peak_bytes),
    ]
}

pub(super) fn quality(report: &Report) -> Vec<Row> {
    let told =
        |side: &Side, value: &dyn Fn(&Quality) -> String| side.quality.as_ref().map_or_else(|| "failed".into(), value);
    let row = |name: &str, value: &dyn Fn(&Quality) -> String| {
        [name.to_owned(), told(&report.a, value), told(&report.b, value), String::new()]
    };
    let interval = |quality: &Quality| {
        let (low, high) = quality.loss_interval();
        format!("{} ({} to {})", percent(quality.loss()), percent(low), percent(high))
    };
    let mut rows = vec![
        row("perplexity", &|q| format!("{:.4}", q.perplexity)),
        row("  its loss", &interval),
        row("KL divergence, mean", &|q| format!("{:.6}", q.kld.value)),
        row("  99th percentile", &|q| format!("{:.6}", q.kld_p99)),
        row("same likeliest token", &|q| format!("{:.2} %", 100.0 * q.same_top.value)),
        row("largest logit error", &|q| format!("{:.4}", q.max_logit_error)),
    ];
    let known = report.a.quality.as_ref().or(report.b.quality.as_ref());
    if let (Some(quality), Some(first)) = (known, rows.first_mut()) {
        first[3] = format!("exact {:.4}", quality.perplexity_exact);
    }
    rows
}

/// A heading and its rows, columns aligned.
fn section(out: &mut String, heading: [&str; 4], rows: Vec<Row>) {
    let rows: Vec<Row> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    out.push('\n');
    for [name, a, b, both] in rows {
        let [w0, w1, w2, _] = widths;
        let line = format!("{name:w0$}  {a:>w1$}  {b:>w2$}  {both}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
