//! The progress bar of weights being laid out anew, on standard error, only where that is a terminal and it takes long.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Who waits no longer than this needs no bar.
const SHORT: Duration = Duration::from_secs(1);

/// A bar that appears when the work turns out to be long.
pub struct RepackBar {
    begin: Instant,
    bar: Option<ProgressBar>,
}

impl RepackBar {
    pub fn new() -> RepackBar {
        RepackBar { begin: Instant::now(), bar: None }
    }

    /// Shows that `done` of `total` bytes are laid out.
    pub fn show(&mut self, done: usize, total: usize) {
        if self.bar.is_none() && self.begin.elapsed() < SHORT {
            return;
        }
        self.bar.get_or_insert_with(|| bar(total as u64)).set_position(done as u64);
    }

    /// Takes the bar off the terminal.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("repacking weights [{wide_bar}] {bytes}/{total_bytes}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
