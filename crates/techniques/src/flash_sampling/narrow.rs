//! The stages that narrow a whole row down to a list, each by a floor that is found without sorting. Called by the
//! form in `mod`; what they leave is what the chain's own stages leave, tie by tie.

use super::row::Row;
use super::threshold::keep_best;
use engine::sampler::{Candidates, Effect};

/// A stage that can begin on a row.
#[derive(Debug, Clone, Copy)]
pub enum Narrowing {
    TopK { k: usize },
    TopP { p: f64, min_keep: usize },
    MinP { log_p: f32, min_keep: usize },
    Best,
    Draw,
}

/// How far below the maximum to look first for the tokens of a nucleus, in units of the logit: most rows have 0.95 of
/// their mass there. Looks further where that was not enough.
const FIRST_REACH: f32 = 6.0;

/// How often to look further, half as far again each time, before all of the row is taken.
const REACHES: usize = 8;

impl Narrowing {
    /// What does the same as a stage of the chain.
    pub fn of(effect: Effect) -> Option<Self> {
        match effect {
            Effect::TopK(k) => Some(Self::TopK { k }),
            Effect::TopP { p, min_keep } => Some(Self::TopP { p, min_keep }),
            Effect::MinP { log_p, min_keep } => Some(Self::MinP { log_p, min_keep }),
            Effect::Temperature(t) if t <= 0.0 => Some(Self::Best),
            Effect::Draw => Some(Self::Draw),
            Effect::Temperature(_) | Effect::Edit | Effect::Other => None,
        }
    }

    /// Leaves in the list what the stage keeps of the row. False where the row is not fit for it.
    pub fn apply(self, row: &mut Row<'_>, candidates: &mut Candidates, draw_bits: impl FnOnce() -> u64) -> bool {
        let Some(max) = row.measure() else { return false };
        match self {
            Self::TopK { k } => top_k(row, max, k, candidates),
            Self::TopP { p, min_keep } => top_p(row, max, p, min_keep, candidates),
            Self::MinP { log_p, min_keep } => {
                row.gather(max + log_p, usize::MAX, candidates);
                if candidates.len() < min_keep {
                    top_k(row, max, min_keep, candidates);
                }
            }
            Self::Best => row.gather(max, 1, candidates),
            Self::Draw => return draw(row, max, draw_bits(), candidates),
        }
        true
    }
}

/// The k-th largest block maximum is a floor under the k-th largest logit. With more than there are blocks, the list
/// is tried at ever lower floors.
fn top_k(row: &mut Row<'_>, max: f32, k: usize, candidates: &mut Candidates) {
    let first = row.nth_maximum(k);
    reach(row, max, first, k, candidates, |candidates| candidates.len() >= k);
    if candidates.len() > k {
        keep_best(candidates, false, |number, _| number >= k);
    }
}

/// Weighs the whole row once; then only tokens near the maximum are listed, as long as they carry enough of it.
fn top_p(row: &mut Row<'_>, max: f32, p: f64, min_keep: usize, candidates: &mut Candidates) {
    let total = row.total(max) as f64;
    let enough = |number: usize, mass: u64| mass as f64 / total >= p && number >= min_keep;
    reach(row, max, max - FIRST_REACH, usize::MAX, candidates, |candidates| {
        candidates.weigh() && enough(candidates.len(), candidates.total())
    });
    keep_best(candidates, true, enough);
}

/// Gathers what is above a floor, lowering it until the list is enough.
fn reach(
    row: &Row<'_>,
    max: f32,
    first: f32,
    ties: usize,
    candidates: &mut Candidates,
    mut enough: impl FnMut(&mut Candidates) -> bool,
) {
    row.gather(first, ties, candidates);
    let mut below = (max - first).max(FIRST_REACH);
    for nth in 1..=REACHES {
        if enough(candidates) {
            return;
        }
        below *= 1.5;
        row.gather(if nth < REACHES { max - below } else { f32::NEG_INFINITY }, ties, candidates);
    }
    enough(candidates);
}

/// Inverts the cumulative distribution over the ids, as the draw of the chain does.
fn draw(row: &mut Row<'_>, max: f32, bits: u64, candidates: &mut Candidates) -> bool {
    let total = row.total(max);
    let target = ((u128::from(bits) * u128::from(total)) >> 64) as u64; // uniform in 0..total
    let Some((token, logit, weight)) = row.crossing(target, max) else { return false };
    candidates.conclude(token, logit, weight, total);
    true
}
