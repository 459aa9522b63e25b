//! The charts of the page, as SVG that takes its colours from the page's style. Called by [`super::page()`].

use std::fmt::Write;

use super::page::escaped;
use super::{Report, Speed, bytes};

/// Width of every chart, in pixels of its own; the page scales it.
const WIDTH: f64 = 720.0;
/// Height of a row of a chart.
const ROW: f64 = 26.0;
/// Where the names end and the drawing begins.
const LEFT: f64 = 190.0;
/// Room for figures at the right.
const RIGHT: f64 = 150.0;

/// Speed of b to a: a point for each measure, a line for its interval; what lies between the limits is shaded.
pub(super) fn speedups(report: &Report) -> String {
    let rows = &report.speed;
    let bound = |of: fn(&Speed) -> f64, worst: fn(f64, f64) -> f64, from: f64| rows.iter().map(of).fold(from, worst);
    let least = report.limits.min_speedup;
    let low = bound(|row| row.speedup.low, f64::min, 1.0 - 2.0 * least).max(0.01);
    let high = bound(|row| row.speedup.high, f64::max, 1.0 + 2.0 * least).min(1e4);
    // Ratios are told on a logarithmic scale: twice and half are equally far from one.
    let margin = 0.05 * (high / low).ln();
    let (from, to) = (low.ln() - margin, high.ln() + margin);
    let x = |ratio: f64| LEFT + (ratio.max(1e-3).ln() - from) / (to - from) * (WIDTH - LEFT - RIGHT);
    let height = ROW * rows.len() as f64;
    let mut svg = open(height + ROW, "Speed of b to a");
    let (band_from, band_to) = (x(1.0 - least), x(1.0 + least));
    let _ = write!(
        svg,
        r#"<rect class="band" x="{band_from:.1}" y="0" width="{:.1}" height="{height}"/>"#,
        band_to - band_from
    );
    let _ = write!(svg, r#"<line class="axis" x1="{0:.1}" x2="{0:.1}" y1="0" y2="{height}"/>"#, x(1.0));
    for tick in ticks(low, high) {
        let _ = write!(svg, r#"<text class="tick" x="{:.1}" y="{:.1}">{tick}×</text>"#, x(tick), height + 17.0);
    }
    for (index, row) in rows.iter().enumerate() {
        let y = ROW * (index as f64 + 0.5);
        let (low, median, high) = (row.speedup.low, row.speedup.median, row.speedup.high);
        let class = if low > 1.0 + least {
            "gain"
        } else if high < 1.0 {
            "loss"
        } else {
            "even"
        };
        label(&mut svg, y, &row.name);
        let _ = write!(svg, r#"<line class="{class}" x1="{:.1}" x2="{:.1}" y1="{y}" y2="{y}"/>"#, x(low), x(high));
        let _ = write!(svg, r#"<circle class="{class}" cx="{:.1}" cy="{y}" r="4.5"/>"#, x(median));
        figure(&mut svg, y, &format!("{median:.3}×"));
    }
    svg + "</svg>"
}

/// KL divergence from the exact plan: how many of 100 positions stay below a value, for a and b.
pub(super) fn divergence(report: &Report) -> String {
    const HEIGHT: f64 = 220.0;
    /// Divergences below this are rounding.
    const LEAST: f32 = 1e-7;
    let curves: Vec<(&str, &[f32])> = [("a", &report.a), ("b", &report.b)]
        .into_iter()
        .filter_map(|(name, side)| Some((name, &side.quality.as_ref()?.kld_percentiles[..])))
        .collect();
    let most = curves.iter().flat_map(|(_, values)| values.iter()).copied().fold(10.0 * LEAST, f32::max);
    let (from, to) = (LEAST.log10().floor(), most.log10().ceil());
    let y = |value: f32| {
        let share = (value.max(LEAST).log10() - from) / (to - from);
        HEIGHT - 4.0 - f64::from(share) * (HEIGHT - 12.0)
    };
    let x = |percent: f64| LEFT + percent / 100.0 * (WIDTH - LEFT - RIGHT);
    let mut svg = open(HEIGHT + ROW, "KL divergence from the exact plan");
    for power in from as i32..=to as i32 {
        let line = y(10f32.powi(power));
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{:.1}" x2="{:.1}" y1="{line:.1}" y2="{line:.1}"/>"#,
            x(0.0),
            x(100.0)
        );
        let _ = write!(svg, r#"<text class="name" x="{:.1}" y="{:.1}">1e{power}</text>"#, LEFT - 10.0, line + 4.0);
    }
    for percent in [0, 25, 50, 75, 99] {
        let place = x(f64::from(percent));
        let _ = write!(svg, r#"<text class="tick" x="{place:.1}" y="{:.1}">{percent} %</text>"#, HEIGHT + 17.0);
    }
    for (index, (name, values)) in curves.iter().enumerate() {
        let last = values.len().saturating_sub(1).max(1) as f64;
        let point = |(at, value): (usize, &f32)| format!("{:.1},{:.1}", x(100.0 * at as f64 / last), y(*value));
        let points: Vec<String> = values.iter().enumerate().map(point).collect();
        let _ = write!(svg, r#"<polyline class="side-{name}" points="{}"/>"#, points.join(" "));
        legend(&mut svg, name, index);
    }
    svg + "</svg>"
}

/// What each configuration takes, as bars.
pub(super) fn memory(report: &Report) -> String {
    let (a, b) = (&report.a.memory, &report.b.memory);
    let deepest = report.needles.iter().map(|needle| needle.depth as u64).max().unwrap_or(1024);
    let groups = [
        ("weights".to_owned(), Some(a.weights_bytes), Some(b.weights_bytes)),
        (format!("cache of {deepest} tokens"), Some(deepest * a.kv_token_bytes), Some(deepest * b.kv_token_bytes)),
        ("peak".to_owned(), a.peak_bytes, b.peak_bytes),
    ];
    let known = groups.iter().flat_map(|(_, a, b)| [*a, *b]).flatten();
    let most = known.max().unwrap_or(1).max(1) as f64;
    let mut svg = open(2.0 * ROW * groups.len() as f64, "Memory");
    for (index, (name, a, b)) in groups.iter().enumerate() {
        for (row, (side, value)) in [("a", a), ("b", b)].into_iter().enumerate() {
            let y = ROW * (2 * index + row) as f64 + 0.5 * ROW;
            label(&mut svg, y, &format!("{name}, {side}"));
            let Some(value) = value else {
                let _ = write!(svg, r#"<text class="figure" x="{LEFT}" y="{:.1}">unknown</text>"#, y + 4.0);
                continue;
            };
            let width = *value as f64 / most * (WIDTH - LEFT - RIGHT);
            let _ = write!(
                svg,
                r#"<rect class="side-{side}" x="{LEFT}" y="{:.1}" width="{width:.1}" height="12"/>"#,
                y - 6.0
            );
            figure(&mut svg, y, &bytes(*value));
        }
    }
    svg + "</svg>"
}

fn open(height: f64, title: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">"#)
}

fn label(svg: &mut String, y: f64, text: &str) {
    let (x, y, text) = (LEFT - 10.0, y + 4.0, escaped(text));
    let _ = write!(svg, r#"<text class="name" x="{x}" y="{y:.1}">{text}</text>"#);
}

fn figure(svg: &mut String, y: f64, text: &str) {
    let (x, y, text) = (WIDTH - RIGHT + 10.0, y + 4.0, escaped(text));
    let _ = write!(svg, r#"<text class="figure" x="{x}" y="{y:.1}">{text}</text>"#);
}

fn legend(svg: &mut String, name: &str, index: usize) {
    let (x, y) = (WIDTH - RIGHT + 14.0, 16.0 + 20.0 * index as f64);
    let _ = write!(svg, r#"<line class="side-{name}" x1="{x}" x2="{:.1}" y1="{y}" y2="{y}"/>"#, x + 22.0);
    let _ = write!(svg, r#"<text class="figure" x="{:.1}" y="{:.1}">{name}</text>"#, x + 30.0, y + 4.0);
}

/// Round ratios between the two.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let near = [0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1];
    let wide = [0.1, 0.2, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];
    let list: &[f64] = if high / low < 1.3 { &near } else { &wide };
    list.iter().copied().filter(|tick| (low..=high).contains(tick)).collect()
}
