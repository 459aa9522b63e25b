//! Timing two things side by side on a noisy machine. Called by the `bench` and `ab` commands.
//!
//! The two are run alternately (a b, b a, a b …), so that slow phases of the machine fall on both, and the result is the
//! median of the ratios of neighbours: it holds although the absolute times wander.

/// What a row of samples says.
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// Two things measured alternately.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What the first took, round by round.
    pub a: Vec<f64>,
    /// What the second took.
    pub b: Vec<f64>,
}

impl Comparison {
    /// Measures both, `rounds` times after one round that does not count. A closure returns what it measured (a time, a
    /// rate); which of the two goes first changes from round to round.
    pub fn run<E>(
        rounds: usize,
        mut a: impl FnMut() -> Result<f64, E>,
        mut b: impl FnMut() -> Result<f64, E>,
    ) -> Result<Self, E> {
        a()?;
        b()?;
        let mut comparison = Self { a: Vec::with_capacity(rounds), b: Vec::with_capacity(rounds) };
        for round in 0..rounds {
            if round % 2 == 0 {
                comparison.a.push(a()?);
                comparison.b.push(b()?);
            } else {
                comparison.b.push(b()?);
                comparison.a.push(a()?);
            }
        }
        Ok(comparison)
    }

    /// `b / a`, round by round: with times, above one where `a` is the faster.
    pub fn ratio(&self) -> Option<Summary> {
        let ratios: Vec<f64> = self.a.iter().zip(&self.b).map(|(a, b)| b / a).collect();
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
        // The clock slows down with every call; b always takes twice what a would take at that moment.
        let slowness = std::cell::Cell::new(1.0);
        let tick = |work: f64| {
            slowness.set(slowness.get() * 1.01);
            Ok::<f64, ()>(work * slowness.get())
        };
        let comparison = Comparison::run(21, || tick(1.0), || tick(2.0)).unwrap();
        let ratio = comparison.ratio().unwrap();
        assert_eq!(ratio.num_samples, 21);
        assert!(ratio.low <= 2.0 && 2.0 <= ratio.high, "{ratio:?}");
        let drift = comparison.a.last().unwrap() / comparison.a[0];
        assert!(drift > 1.4, "the times themselves wander: {drift}");
    }

    #[test]
    fn order_alternates_and_a_failure_ends_it() {
        let calls = std::cell::RefCell::new(String::new());
        let say = |name: char| {
            calls.borrow_mut().push(name);
            Ok::<f64, ()>(1.0)
        };
        Comparison::run(3, || say('a'), || say('b')).unwrap();
        assert_eq!(calls.into_inner(), "ababbaab");
        assert_eq!(Comparison::run(3, || Err::<f64, &str>("no"), || Ok(1.0)), Err("no"));
    }
}
