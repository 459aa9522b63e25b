//! The verdict: does the second of two configurations pay? Called by the `ab` command, with all that was measured.
//!
//! *Unsafe* comes first: a loss above the limit, numbers that broke, a needle lost. What is safe *pays* if something that
//! a user waits for is faster for certain (the whole interval lies above the limit) and nothing is slower for certain
//! by as much. Everything else *does not pay*, and the reasons say what was found.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::quality::Estimate;
use crate::report::{Needle, Side, Speed, percent, times};

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// By how much the perplexity may be larger than the exact plan's: 0.01 is 1 %.
    pub max_loss: f64,
    /// What must be gained at least: 0.02 is 2 %.
    pub min_speedup: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_loss: 0.01, min_speedup: 0.02 }
    }
}

/// What is to be made of the second configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Faster, and true enough.
    Pays,
    /// True enough, but not faster.
    DoesNotPay,
    /// Not true enough, however fast.
    Unsafe,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pays => "pays",
            Verdict::DoesNotPay => "does not pay",
            Verdict::Unsafe => "unsafe",
        })
    }
}

/// A verdict with what led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What decided, most important first: whole clauses.
    pub reasons: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// The second divergence must be this many times the first's before it is called noisier, however certain.
const NOISIER: f64 = 1.1;

/// Judges `b` beside `a`. `kld_excess` is by how much its divergence is the larger one.
pub fn judge(
    limits: &Limits,
    speed: &[Speed],
    [a, b]: [&Side; 2],
    kld_excess: Option<Estimate>,
    needles: &[Needle],
) -> Judgement {
    let (reasons, notes) = (unsafe_for(limits, a, b, needles), notes(limits, speed, b));
    let mut judgement = Judgement { verdict: Verdict::DoesNotPay, reasons, notes };
    let faster: Vec<&Speed> = deciding(speed).filter(|row| row.speedup.low > 1.0 + limits.min_speedup).collect();
    let slower: Vec<&Speed> = deciding(speed).filter(|row| is_slower(row, limits)).collect();
    let costly = slower.iter().any(|row| row.speedup.high < 1.0 - limits.min_speedup);
    let is_unsafe = !judgement.reasons.is_empty();
    judgement.verdict = match (is_unsafe, faster.is_empty(), costly) {
        (true, ..) => Verdict::Unsafe,
        (false, false, false) => Verdict::Pays,
        _ => Verdict::DoesNotPay,
    };
    let mut told = vec![("faster", faster), ("slower", slower)];
    if costly {
        told.reverse();
    }
    for (what, rows) in told {
        judgement.reasons.extend(named(what, &rows));
    }
    judgement.reasons.extend(noisier(a, b, kld_excess));
    if judgement.reasons.is_empty() || (judgement.verdict == Verdict::DoesNotPay && !costly) {
        let least = percent(limits.min_speedup);
        judgement.reasons.push(format!("nothing is faster by {least} for certain"));
    }
    judgement
}

/// What a user waits for; sampling alone is a part of it.
fn deciding(speed: &[Speed]) -> impl Iterator<Item = &Speed> {
    speed.iter().filter(|row| row.decides)
}

/// Slower for certain by half of what would have to be gained: less is not felt, and of many measures one is off by chance.
fn is_slower(row: &Speed, limits: &Limits) -> bool {
    row.speedup.high < 1.0 - 0.5 * limits.min_speedup
}

fn unsafe_for(limits: &Limits, a: &Side, b: &Side, needles: &[Needle]) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(failure) = &b.failure {
        reasons.push(format!("it failed: {failure}"));
    }
    if let Some(quality) = b.quality.as_ref().filter(|quality| !within(quality.loss(), limits.max_loss)) {
        let (low, high) = quality.loss_interval();
        let (loss, low, high, most) = (percent(quality.loss()), percent(low), percent(high), percent(limits.max_loss));
        reasons.push(format!("perplexity {loss} ({low} to {high}) against the exact plan; {most} is allowed"));
        if let Some(quality) = a.quality.as_ref().filter(|quality| quality.loss() > limits.max_loss) {
            reasons.push(format!("a loses too much as well: {}", percent(quality.loss())));
        }
    }
    let found = |by: fn(&Needle) -> bool| needles.iter().filter(|needle| needle.exact && by(needle)).count();
    let (of_a, of_b) = (found(|needle| needle.a), found(|needle| needle.b));
    if of_b < of_a {
        reasons.push(format!("finds {of_b} of the {of_a} needles that a finds and the exact plan finds"));
    }
    reasons
}

/// What is no number is within no limit.
fn within(loss: f64, most: f64) -> bool {
    loss <= most
}

fn named(what: &str, rows: &[&Speed]) -> Option<String> {
    let one = |row: &&Speed| format!("{} {}", row.name, times(&row.speedup));
    let list: Vec<String> = rows.iter().map(one).collect();
    (!list.is_empty()).then(|| format!("{what}: {}", list.join(", ")))
}

fn noisier(a: &Side, b: &Side, excess: Option<Estimate>) -> Option<String> {
    let (a, b) = (a.quality.as_ref()?.kld.value, b.quality.as_ref()?.kld.value);
    let certain = excess.is_some_and(|excess| excess.interval().0 > 0.0);
    (certain && b > NOISIER * a).then(|| format!("noisier: mean KL divergence {b:.6}, a has {a:.6}"))
}

fn notes(limits: &Limits, speed: &[Speed], b: &Side) -> Vec<String> {
    let parts = speed.iter().filter(|row| !row.decides && row.speedup.low > 1.0 + limits.min_speedup);
    let part = |row: &Speed| format!("{} alone: {}, a part of what decides", row.name, times(&row.speedup));
    let mut notes: Vec<String> = parts.map(part).collect();
    if let Some(quality) = &b.quality {
        let (low, high) = quality.loss_interval();
        if low <= limits.max_loss && limits.max_loss < high {
            let (low, high) = (percent(low), percent(high));
            notes.push(format!(
                "the loss lies between {low} and {high}: more --chunks would tell on which side of the limit"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests;
