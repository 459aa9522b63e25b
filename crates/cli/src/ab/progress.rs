//! The progress bar of `ab`, on standard error where that is a terminal: what is being done, and how long it will still take.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Steps of the bar.
const LENGTH: u64 = 1000;

/// A bar over phases whose lengths are guessed first and measured as they run.
pub struct Progress {
    bar: ProgressBar,
    begin: Instant,
    phase: Phase,
}

struct Phase {
    begin: Instant,
    expected: Duration,
    /// What comes after it.
    later: Duration,
}

impl Progress {
    pub fn new() -> Progress {
        let bar = ProgressBar::new(LENGTH);
        if let Ok(style) = ProgressStyle::with_template("{msg:44} [{wide_bar}] {prefix:>14}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let nothing = Phase { begin: Instant::now(), expected: Duration::ZERO, later: Duration::ZERO };
        Progress { bar, begin: Instant::now(), phase: nothing }
    }

    /// Begins a phase that is expected to take so many seconds, with so many to follow.
    pub fn phase(&mut self, name: &str, expected_s: f64, later_s: f64) {
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.phase = Phase { begin: Instant::now(), expected: time(expected_s), later: time(later_s) };
        self.bar.set_message(name.to_owned());
        self.show(0.0);
    }

    /// So much of the phase is done, from 0 to 1.
    pub fn show(&mut self, share: f64) {
        let left = self.phase.left(share);
        let passed = self.begin.elapsed();
        let all = (passed + left).as_secs_f64().max(1e-3);
        self.bar.set_position((LENGTH as f64 * passed.as_secs_f64() / all) as u64);
        self.bar.set_prefix(match left.as_secs() {
            0 => "almost done".to_owned(),
            seconds @ 1..60 => format!("{seconds} s left"),
            seconds => format!("{}:{:02} min left", seconds / 60, seconds % 60),
        });
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Phase {
    /// Time to the very end: by the guess at first, by what was measured as soon as that says something.
    fn left(&self, share: f64) -> Duration {
        let share = share.clamp(0.0, 1.0);
        let rest = if share < 0.05 { self.expected } else { self.begin.elapsed().div_f64(share) }.mul_f64(1.0 - share);
        rest + self.later
    }
}
