//! What the reader of a report sees.

use super::samples_tests::report;
use super::*;

#[test]
fn the_table_says_what_was_found() {
    let text = table(&report());
    for shown in [
        "a<b>&c.gguf on A Processor, 2 cores",
        "a: the baseline (quick on)",
        "b: --technique quick=on (quick on)",
        "decode @ 128  53.20 t/s",
        "1.500× (1.500 to 1.500)",
        "sampling",
        "4.70 ms",
        "weights           93.8 MiB",
        "cache of a token",
        "peak",
        "unknown",
        "against the exact plan, 6 × 512 tokens",
        "+0.49 % (+0.29 % to +0.69 %)",
        "exact 20.4000",
        "97.00 %",
        "needles: of 1, the exact plan finds 1; of these a finds 1 and b 0",
        "\nb pays\n  faster: decode",
        "  a note",
    ] {
        assert!(text.contains(shown), "`{shown}` is missing in\n{text}");
    }
    assert!(text.lines().all(|line| line.trim_end() == line), "no line ends in blanks");
}

#[test]
fn all_measures_together_have_a_ratio_and_no_time() {
    let mut report = report();
    report.speed.extend(Speed::together(&[0.97, 0.96, 0.98, 0.97, 0.97, 0.97]));
    let text = table(&report);
    let row = text.lines().find(|line| line.starts_with("all together")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>().join(" "), "all together 0.970× (0.960 to 0.980)");
    assert_eq!(Speed::together(&[]), None);
}

#[test]
fn a_model_that_knows_no_needle_is_not_blamed_on_b() {
    let mut report = report();
    report.needles[0].exact = false;
    assert!(table(&report).contains("this model finds none of 1 by its exact plan"));
    report.needles.clear();
    assert!(table(&report).contains("needles: not asked"));
}

#[test]
fn a_failure_stands_where_its_figures_would() {
    let mut report = report();
    report.b.quality = None;
    assert!(table(&report).lines().any(|line| line.starts_with("perplexity") && line.contains("failed")));
    assert!(page(&report).contains("<td>failed</td>"));
}

#[test]
fn the_page_needs_nothing_else_and_shows_hostile_names_as_text() {
    let page = page(&report());
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("a&lt;b&gt;&amp;c.gguf") && !page.contains("a<b>"));
    for foreign in ["http", "src=", "@import", "url(", "<script"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("b pays"));
    assert_eq!(page.matches("<svg").count(), 3);
    for tag in ["svg", "table", "section", "main", "ul", "dl"] {
        let (open, close) = (page.matches(&format!("<{tag}")).count(), page.matches(&format!("</{tag}>")).count());
        assert_eq!(open, close, "{tag}");
    }
}

#[test]
fn charts_stay_inside_whatever_the_figures() {
    let mut report = report();
    report.speed[0].speedup = Summary { low: 1e-9, median: 40.0, high: 1e9, ..report.speed[0].speedup };
    report.b.memory = Memory { weights_bytes: 0, kv_token_bytes: u64::from(u32::MAX), peak_bytes: Some(0) };
    if let Some(quality) = &mut report.b.quality {
        quality.kld_percentiles = vec![0.0; 101];
    }
    let page = page(&report);
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}

#[test]
fn a_report_is_the_same_after_it_was_kept() {
    let report = report();
    let kept = serde_json::to_string(&report).unwrap();
    assert_eq!(table(&serde_json::from_str(&kept).unwrap()), table(&report));
}
