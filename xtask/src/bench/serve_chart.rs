//! The chart of streams that a long prompt joins: the time between two tokens over time. Called by [`super::serve`].

use super::load::Answer;
use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use std::fs;
use std::path::Path;
use std::time::Instant;

const SIZE: (u32, u32) = (760, 320);
const TOKENS: RGBColor = RGBColor(31, 119, 180);
const PROMPT: RGBColor = RGBColor(230, 126, 34);

/// A dot for each token of one stream (all share their steps); the time of the long prompt shaded, the budget of a chunk above the median as a line.
pub fn write(path: &Path, streams: &[Answer], (from, to): (Instant, Instant), budget_ms: f64) -> Result<()> {
    let begin = streams.iter().map(|stream| stream.begin).min().context("no streams")?;
    let at = |when: Instant| when.saturating_duration_since(begin).as_secs_f64();
    let dots: Vec<(f64, f64)> = streams
        .iter()
        .take(1)
        .flat_map(|stream| stream.pieces.windows(2))
        .map(|pair| (at(pair[1]), (pair[1] - pair[0]).as_secs_f64() * 1e3))
        .collect();
    let mut quiet: Vec<f64> = dots.iter().filter(|(when, _)| *when < at(from)).map(|(_, gap)| *gap).collect();
    quiet.sort_by(f64::total_cmp);
    let usual = quiet.get(quiet.len() / 2).copied().unwrap_or_default();
    let end = dots.iter().map(|(when, _)| *when).fold(0.0, f64::max);
    let top = dots.iter().map(|(_, gap)| *gap).fold(usual + budget_ms, f64::max) * 1.1;
    let mut svg = String::new();
    draw(&mut svg, &dots, (at(from), at(to)), (usual, budget_ms), (end, top)).map_err(|error| anyhow!("{error}"))?;
    fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}

fn draw(
    svg: &mut String,
    dots: &[(f64, f64)],
    (from, to): (f64, f64),
    (usual, budget): (f64, f64),
    (end, top): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = "Milliseconds between two tokens of each of 8 streams; shaded: a prompt of 3000 tokens is read";
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart.configure_mesh().x_desc("seconds").y_desc("ms").light_line_style(WHITE).draw()?;
    chart.draw_series([Rectangle::new([(from, 0.0), (to, top)], PROMPT.mix(0.12).filled())])?;
    chart.draw_series(dots.iter().map(|&dot| Circle::new(dot, 1, TOKENS.filled())))?;
    let line = |height: f64| PathElement::new([(0.0, height), (end, height)], PROMPT);
    chart.draw_series([line(usual), line(usual + budget)])?;
    chart.draw_series([Text::new(
        "usual + one chunk",
        (0.02 * end, usual + budget + 0.03 * top),
        ("sans-serif", 13),
    )])?;
    area.present()?;
    Ok(())
}
