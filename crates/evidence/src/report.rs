//! All that was found out about two configurations of one model: values that can be kept and read again, a table for the
//! terminal, a page with charts. Filled and shown by the `ab` command.

mod chart;
mod page;
mod table;

use serde::{Deserialize, Serialize};

use crate::judge::{Judgement, Limits};
use crate::measure::{Comparison, Summary};
use crate::quality::{Estimate, Quality};

pub use page::page;
pub use table::table;

/// Everything about one comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the program.
    pub version: String,
    /// When it ended, UTC.
    pub time: String,
    /// The model.
    pub model: Model,
    /// Where it ran.
    pub machine: Machine,
    /// What counts.
    pub limits: Limits,
    /// The verdict.
    pub judgement: Judgement,
    /// The first configuration.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// How fast they are, measure by measure.
    pub speed: Vec<Speed>,
    /// The text they were held to the exact plan with.
    pub text: Text,
    /// By how much b's KL divergence is larger than a's.
    pub kld_excess: Option<Estimate>,
    /// Facts hidden in a long text.
    pub needles: Vec<Needle>,
}

/// The model's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The file's name, without its folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its processor.
    pub cpu: String,
    /// Physical cores.
    pub cores: usize,
    /// Its instruction sets, as the program names them.
    pub features: String,
}

/// The text of the quality measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// Where it comes from.
    pub source: String,
    /// Chunks of it that were scored.
    pub chunks: usize,
    /// Tokens in a chunk.
    pub context: usize,
}

/// One configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Its flags.
    pub flags: String,
    /// What became of each technique.
    pub techniques: Vec<Standing>,
    /// What it takes.
    pub memory: Memory,
    /// How true it is.
    pub quality: Option<Quality>,
    /// Why its quality could not be measured.
    pub failure: Option<String>,
    /// What the watch over numbers told.
    pub notices: Vec<String>,
}

/// A technique and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name.
    pub id: String,
    /// On, off, or fell back.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// Bytes that a configuration takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Weights: those laid out anew, and those read where the file is mapped.
    pub weights_bytes: u64,
    /// Keys and values of one token.
    pub kv_token_bytes: u64,
    /// The most memory that was in use at once while it ran; where the system tells.
    pub peak_bytes: Option<u64>,
}

/// One thing that was timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Its name: `decode @ 4096`.
    pub name: String,
    /// Tokens in one measurement.
    pub tokens: usize,
    /// Whether it is told as tokens per second, or as the time it takes.
    pub is_rate: bool,
    /// Whether the verdict looks at it.
    pub decides: bool,
    /// Seconds of each measurement, first configuration; none where this is a mean of others.
    pub a_s: Vec<f64>,
    /// The same of the second.
    pub b_s: Vec<f64>,
    /// How many times as fast the second is.
    pub speedup: Summary,
}

/// A fact in a long text that is asked for at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needle {
    /// Where it stands, in tokens from the beginning.
    pub position: usize,
    /// Tokens of the text.
    pub depth: usize,
    /// Whether the exact plan knows it.
    pub exact: bool,
    /// Whether the first configuration does.
    pub a: bool,
    /// Whether the second does.
    pub b: bool,
}

impl Speed {
    /// What was measured; `None` before the first turn.
    pub fn of(name: &str, tokens: usize, is_rate: bool, decides: bool, measured: Comparison) -> Option<Self> {
        let speedup = measured.speedup()?;
        Some(Self { name: name.to_owned(), tokens, is_rate, decides, a_s: measured.a, b_s: measured.b, speedup })
    }

    /// All deciding measures as one: of each round the geometric mean of their speed-ups. It finds what makes everything a
    /// little slower or faster, as what is noise in each of them is less in their mean.
    pub fn together(rounds: &[f64]) -> Option<Self> {
        let (name, speedup) = ("all together".to_owned(), Summary::of(rounds)?);
        Some(Self { name, tokens: 0, is_rate: false, decides: true, a_s: Vec::new(), b_s: Vec::new(), speedup })
    }

    /// The middle of some times, told as this measure is: `1918 t/s`, `37.1 ms`; nothing where there are none.
    fn told(&self, seconds: &[f64]) -> String {
        let Some(Summary { median, .. }) = Summary::of(seconds) else { return String::new() };
        let median = median.max(1e-12);
        if self.is_rate {
            let rate = self.tokens as f64 / median;
            return if rate < 100.0 { format!("{rate:.2} t/s") } else { format!("{rate:.0} t/s") };
        }
        let each = median / self.tokens.max(1) as f64;
        if each < 1e-3 { format!("{:.1} µs", 1e6 * each) } else { format!("{:.2} ms", 1e3 * each) }
    }
}

impl Report {
    /// How many needles the exact plan, a and b know, and how many there are.
    fn needle_counts(&self) -> [usize; 4] {
        let count = |by: fn(&Needle) -> bool| self.needles.iter().filter(|needle| by(needle)).count();
        [count(|n| n.exact), count(|n| n.exact && n.a), count(|n| n.exact && n.b), self.needles.len()]
    }

    /// What the needles say, in one sentence.
    fn needle_sentence(&self) -> String {
        let [exact, a, b, all] = self.needle_counts();
        match (all, exact) {
            (0, _) => "not asked: the context is too short".into(),
            (_, 0) => format!("this model finds none of {all} by its exact plan: they tell nothing about a and b"),
            _ => format!("of {all}, the exact plan finds {exact}; of these a finds {a} and b {b}"),
        }
    }
}

/// `1.031× (1.022 to 1.040)`.
pub(crate) fn times(speedup: &Summary) -> String {
    format!("{:.3}× ({:.3} to {:.3})", speedup.median, speedup.low, speedup.high)
}

/// `+0.21 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:+.2} %", 100.0 * share)
}

/// `98.4 MiB`.
fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        ..1024.0 => format!("{count} B"),
        ..1048576.0 => format!("{:.1} KiB", count / 1024.0),
        _ => format!("{:.1} MiB", count / 1048576.0),
    }
}

#[cfg(test)]
pub(crate) mod samples_tests;
#[cfg(test)]
mod tests;
