//! The report as one page of HTML that needs nothing else: style and charts are inside. Called by `ab --html`.

use std::fmt::Write;

use super::{Report, chart, table};
use crate::judge::Verdict;

/// The page's style: the reader's choice of light or dark.
const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(report: &Report) -> String {
    let Report { model, machine, judgement, text, .. } = report;
    let mut body = String::new();
    let class = match judgement.verdict {
        Verdict::Pays => "gain",
        Verdict::DoesNotPay => "even",
        Verdict::Unsafe => "loss",
    };
    let _ = write!(body, "<h1>{}</h1>", escaped(&model.file));
    let place = format!("{}, {} cores · chaski {} · {} UTC", machine.cpu, machine.cores, report.version, report.time);
    let _ = write!(body, r#"<p class="quiet">{}</p>"#, escaped(&place));
    let _ = write!(body, r#"<section class="verdict {class}"><h2>b {}</h2><ul>"#, judgement.verdict);
    for reason in judgement.reasons.iter().chain(&judgement.notes) {
        let _ = write!(body, "<li>{}</li>", escaped(reason));
    }
    body += "</ul></section><dl>";
    for (name, side) in [("a", &report.a), ("b", &report.b)] {
        let _ = write!(body, "<dt>{name}</dt><dd><code>{}</code></dd>", escaped(&table::configuration(side)));
    }
    body += "</dl><h2>Speed</h2>";
    body += &chart::speedups(report);
    let least = 100.0 * report.limits.min_speedup;
    let _ = write!(
        body,
        r#"<p class="quiet">How many times as fast b is. Points are medians of turns a b b a, lines are intervals with 95 %
        confidence from order statistics; within the shaded band the two differ by less than {least} %.</p>"#
    );
    body += &rows(["measure", "a", "b", "b to a"], table::speed(report));
    body += "<h2>Memory</h2>";
    body += &chart::memory(report);
    body += &rows(["", "a", "b", "b to a"], table::memory(report));
    body += "<h2>Against the exact plan</h2>";
    body += &chart::divergence(report);
    let source = escaped(&text.source);
    let _ = write!(
        body,
        r#"<p class="quiet">KL divergence of each position, sorted: how many of 100 stay below a value. Text: {source},
        {} chunks of {} tokens, the second half of each scored.</p>"#,
        text.chunks, text.context
    );
    body += &rows(["", "a", "b", ""], table::quality(report));
    let _ = write!(body, "<p>Needles: {}.</p>", escaped(&report.needle_sentence()));
    let hash = escaped(&model.sha256);
    let _ = write!(body, r#"<p class="quiet">SHA-256 of the model: <code>{hash}</code></p>"#);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>chaski ab: b {}</title>\
         <style>\n{STYLE}</style></head>\n<body><main>{body}</main></body></html>\n",
        judgement.verdict
    )
}

/// Text as HTML shows it, whatever stands in it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            letter => out.push(letter),
        }
    }
    out
}

fn rows(heading: [&str; 4], rows: Vec<[String; 4]>) -> String {
    let cells = |tag: &str, row: &[String; 4]| {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell.trim()))).collect::<String>()
    };
    let mut out = format!("<table><tr>{}</tr>", cells("th", &heading.map(str::to_owned)));
    for row in rows {
        let _ = write!(out, "<tr>{}</tr>", cells("td", &row));
    }
    out + "</table>"
}
