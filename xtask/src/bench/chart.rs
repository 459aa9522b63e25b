//! The chart of a comparison: a bar for each row, as long as its ratio. Called by the benches for the README.

use super::duel::Row;
use super::results::Results;
use anyhow::{Context, Result, anyhow};
use evidence::measure::Summary;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fs;
use std::path::Path;

/// The group that the chart shows; the others are in the tables.
const GROUP: &str = "Speed";

const WIDTH: u32 = 760;
const ROW_HEIGHT: i32 = 26;
/// Above the bars and below them.
const MARGIN: i32 = 44;
/// Where names end and bars begin.
const NAMES: i32 = 260;
/// Kept free behind the longest bar for its figures.
const FIGURES: i32 = 190;

const INK: RGBColor = RGBColor(60, 60, 60);
const PROMPT: RGBColor = RGBColor(31, 119, 180);
const OTHER: RGBColor = RGBColor(230, 126, 34);

/// Draws the rows of [`GROUP`] into an SVG file; nothing when there are none.
pub fn write(path: &Path, results: &Results) -> Result<()> {
    let rows: Vec<&Row> = results.group(GROUP).map(|(_, row)| row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    fs::write(path, draw(&rows)?).with_context(|| format!("cannot write {}", path.display()))
}

fn draw(rows: &[&Row]) -> Result<String> {
    let ratios: Vec<f64> = rows.iter().map(|row| row.ratio().map_or(0.0, |ratio| ratio.median)).collect();
    let longest = ratios.iter().copied().fold(1.0, f64::max);
    let unit = f64::from(WIDTH as i32 - NAMES - FIGURES) / longest;
    let bottom = MARGIN + ROW_HEIGHT * rows.len() as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, (bottom + MARGIN) as u32)).into_drawing_area();
        let plain = |horizontal| text(16, INK, horizontal);
        area.fill(&WHITE).map_err(drawing)?;
        let title = "Times as fast as llama.cpp on the same machine and file (1 = as fast)";
        area.draw_text(title, &text(18, INK, HPos::Left), (12, MARGIN / 2)).map_err(drawing)?;
        for (at, (row, ratio)) in rows.iter().zip(&ratios).enumerate() {
            let middle = MARGIN + ROW_HEIGHT * at as i32 + ROW_HEIGHT / 2;
            let end = NAMES + (unit * ratio) as i32;
            let color = if row.test.starts_with("pp") { PROMPT } else { OTHER };
            let name = format!("{} {}", row.model, row.test);
            area.draw_text(&name, &plain(HPos::Right), (NAMES - 8, middle)).map_err(drawing)?;
            let corners = [(NAMES, middle - 9), (end, middle + 9)];
            area.draw(&Rectangle::new(corners, color.filled())).map_err(drawing)?;
            area.draw_text(&figures(row, *ratio), &plain(HPos::Left), (end + 8, middle)).map_err(drawing)?;
        }
        let one = NAMES + unit as i32;
        area.draw(&PathElement::new([(one, MARGIN - 4), (one, bottom + 4)], INK)).map_err(drawing)?;
        area.draw_text("llama.cpp", &text(15, INK, HPos::Center), (one, bottom + 16)).map_err(drawing)?;
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

/// `4.30× (1209 : 281 tokens/s)`.
fn figures(row: &Row, ratio: f64) -> String {
    let median = |samples: &[f64]| Summary::of(samples).map_or(0.0, |summary| summary.median);
    format!("{ratio:.2}× ({:.0} : {:.0} tokens/s)", median(&row.ours), median(&row.theirs))
}

fn text(size: i32, color: RGBColor, horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color).pos(Pos::new(horizontal, VPos::Center))
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the chart cannot be drawn: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_a_bar_with_its_figures() {
        let row = |test: &str, ours| Row {
            group: "Speed".into(),
            model: "m".into(),
            test: test.into(),
            ours: vec![ours],
            theirs: vec![100.0],
            token_bytes: None,
        };
        let svg = draw(&[&row("pp512", 450.0), &row("tg64", 90.0)]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(
            svg.contains("m pp512") && svg.contains("4.50× (450 : 100 tokens/s)") && svg.contains("0.90×"),
            "{svg}"
        );
    }
}
