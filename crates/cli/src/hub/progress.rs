//! The progress bar of a transfer, on standard error, only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `bytes`, at zero.
pub(super) fn bar(name: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let style = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} (eta {eta})";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(name.to_string());
    if bar.is_hidden() {
        eprintln!("pulling {name} ({:.1} MB)", bytes as f64 / 1e6);
    }
    bar
}
