//! Timing two things side by side on a noisy machine. Called by the `bench` and `ab` commands.
//!
//! The two are run in turns of a b b a, so that slow phases of the machine fall on both, and the result is the median of
//! the turns' ratios: it holds although the absolute times wander.

use serde::{Deserialize, Serialize};

/// What a row of samples says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The middle value.
    pub median: f64,
    /// The interval in which the true median lies, from order statistics: no shape of distribution is assumed.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// How sure that is, at most 0.95 or a little more; less with fewer than six samples.
    pub confidence: f64,
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; zero for a single sample.
    pub stddev: f64,
    /// Samples taken.
    pub num_samples: usize,
}

impl Summary {
    /// Sums up samples; `None` where there are none or one is not a number.
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() || samples.iter().any(|sample| sample.is_nan()) {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let num = sorted.len();
        let (drop, confidence) = median_interval(num);
        let mean = sorted.iter().sum::<f64>() / num as f64;
        let squares = sorted.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
        Some(Self {
            median: 0.5 * (sorted[(num - 1) / 2] + sorted[num / 2]),
            low: sorted[drop],
            high: sorted[num - 1 - drop],
            confidence,
            mean,
            stddev: if num > 1 { (squares / (num as f64 - 1.0)).sqrt() } else { 0.0 },
            num_samples: num,
        })
    }
}

/// One of two things that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The first.
    A,
    /// The second.
    B,
}

/// What two things took, turn by turn. A turn is a b b a: whatever drifts steadily meanwhile falls on both alike, and so
/// does what it costs to come second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What the first took: two times for each turn.
    pub a: Vec<f64>,
    /// What the second took.
    pub b: Vec<f64>,
}

impl Comparison {
    /// Takes a turn. `measure` returns the time that the one it is asked for took; when it fails, the turn does not count.
    ///
    /// # Errors
    /// What `measure` says.
    pub fn turn<E>(&mut self, mut measure: impl FnMut(Which) -> Result<f64, E>) -> Result<(), E> {
        let (a1, b1) = (measure(Which::A)?, measure(Which::B)?);
        let (b2, a2) = (measure(Which::B)?, measure(Which::A)?);
        self.a.extend([a1, a2]);
        self.b.extend([b1, b2]);
        Ok(())
    }

    /// Turns taken.
    pub fn num_turns(&self) -> usize {
        self.a.len() / 2
    }

    /// How many times as fast as the first the second is: the times of a turn divided, summed up over the turns.
    pub fn speedup(&self) -> Option<Summary> {
        let turns = self.a.chunks_exact(2).zip(self.b.chunks_exact(2));
        let ratios: Vec<f64> = turns.map(|(a, b)| (a[0] + a[1]) / (b[0] + b[1])).collect();
        Summary::of(&ratios)
    }
}

/// How many samples may be dropped at each end so that what is left still covers the median with 95 % confidence, and
/// the confidence reached. Dropping `d` of `n` leaves the median outside with probability `2 P(Binomial(n, 1/2) <= d)`.
fn median_interval(num: usize) -> (usize, f64) {
    const WANTED: f64 = 0.95;
    // P(X = 0), in logarithms because 2^-n vanishes for large n.
    let mut log_term = -(num as f64) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    let mut best = (0, 1.0 - 2.0 * tail);
    for drop in 1..num.div_ceil(2) {
        log_term += ((num - drop + 1) as f64 / drop as f64).ln();
        tail += log_term.exp();
        let confidence = 1.0 - 2.0 * tail;
        if confidence < WANTED {
            break;
        }
        best = (drop, confidence);
    }
    (best.0, best.1.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_statistics_match_the_binomial_table() {
        // Known 95 % intervals for the median: ranks (1, 6) of 6, (2, 9) of 10, (6, 15) of 20, (40, 61) of 100.
        for (num, drop) in [(5, 0), (6, 0), (10, 1), (20, 5), (100, 39)] {
            assert_eq!(median_interval(num).0, drop, "{num} samples");
        }
        assert!((median_interval(10).1 - 0.978_515_625).abs() < 1e-9);
        assert_eq!(median_interval(1), (0, 0.0));
        assert!(median_interval(100_000).1 >= 0.95);
    }

    #[test]
    fn a_summary_holds_the_known_figures() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((summary.median, summary.low, summary.high, summary.mean), (2.5, 1.0, 4.0, 2.5));
        assert!((summary.stddev - (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((summary.confidence - 0.875).abs() < 1e-12);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn drift_of_the_machine_cancels_in_the_ratio() {
        // The clock slows down with every call; b always takes half of what a would take at that moment.
        let mut slowness = 1.0;
        let mut comparison = Comparison::default();
        for _ in 0..21 {
            let tick = |which| {
                slowness *= 1.01;
                Ok::<f64, ()>(if which == Which::A { 2.0 * slowness } else { slowness })
            };
            comparison.turn(tick).unwrap();
        }
        let speedup = comparison.speedup().unwrap();
        assert_eq!((speedup.num_samples, comparison.num_turns()), (21, 21));
        assert!((speedup.median - 2.0).abs() < 1e-3 && speedup.high - speedup.low < 1e-3, "{speedup:?}");
        let drift = comparison.a.last().unwrap() / comparison.a[0];
        assert!(drift > 1.4, "the times themselves wander: {drift}");
    }

    #[test]
    fn a_turn_is_a_b_b_a_and_one_that_fails_does_not_count() {
        let mut calls = String::new();
        let mut comparison = Comparison::default();
        let mut say = |which| {
            calls.push(if which == Which::A { 'a' } else { 'b' });
            if calls.len() > 6 { Err("no") } else { Ok(1.0) }
        };
        assert_eq!(comparison.turn(&mut say), Ok(()));
        assert_eq!(comparison.turn(&mut say), Err("no"));
        assert_eq!(calls, "abbaabb");
        assert_eq!(comparison.num_turns(), 1);
        assert_eq!(Comparison::default().speedup(), None);
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        // Times with heavy tails, as on a shared machine: mostly within 2 %, now and then half as long again. The truth is 1.03.
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut took = |true_time: f64| {
            let hiccup = if random() < 0.05 { 1.5 } else { 1.0 };
            true_time * (1.0 + 0.02 * (random() + random() - 1.0)) * hiccup
        };
        let (mut held, mut told_apart, runs) = (0, 0, 1000);
        for _ in 0..runs {
            let mut comparison = Comparison::default();
            for _ in 0..20 {
                comparison.turn(|which| Ok::<f64, ()>(took(if which == Which::A { 1.03 } else { 1.0 }))).unwrap();
            }
            let speedup = comparison.speedup().unwrap();
            held += usize::from(speedup.low <= 1.03 && 1.03 <= speedup.high);
            told_apart += usize::from(speedup.low > 1.0);
        }
        // The declared confidence of 20 samples is 95.9 %; three standard errors of 1000 runs are 2 %.
        assert!((940..=990).contains(&held), "{held} of {runs}");
        assert!(told_apart > 990, "3 % is found: {told_apart} of {runs}");
    }
}
