//! The figures of a comparison, with llama-perplexity's formulas and, as text, its lines. Made by [`super::divergence()`].

use super::divergence::Divergence;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A mean with one standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// One standard error; zero where there are too few values to tell.
    pub uncertainty: f64,
}

impl Estimate {
    /// The interval in which the true mean lies with 95 % confidence, by the normal distribution.
    pub fn interval(self) -> (f64, f64) {
        (self.value - 1.96 * self.uncertainty, self.value + 1.96 * self.uncertainty)
    }

    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut sum, mut sum2, mut count) = (0.0, 0.0, 0usize);
        for value in values {
            sum += value;
            sum2 += value * value;
            count += 1;
        }
        if count == 0 {
            return Self { value: 0.0, uncertainty: 0.0 };
        }
        let mean = sum / count as f64;
        let variance = sum2 / count as f64 - mean * mean;
        let known = variance > 0.0 && count > 10;
        Self { value: mean, uncertainty: if known { (variance / (count as f64 - 1.0)).sqrt() } else { 0.0 } }
    }

    /// `exp` of an estimate: `d exp(x) = exp(x) dx`.
    fn exp(self) -> Self {
        let value = self.value.exp();
        Self { value, uncertainty: value * self.uncertainty }
    }

    /// The square root of an estimate: `d sqrt(x) = dx / (2 sqrt(x))`.
    fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        Self { value, uncertainty: if value > 0.0 { 0.5 / value * self.uncertainty } else { 0.0 } }
    }
}

/// The figures after some chunks.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// Perplexity of the plan.
    pub perplexity: Estimate,
    /// `ln(perplexity / base perplexity)`.
    pub log_ratio: Estimate,
    /// Kullback-Leibler divergence from the base.
    pub kld: Estimate,
    /// Root mean square of the change of the right token's probability.
    pub p_diff_rms: Estimate,
    /// Share of positions where both name the same most likely token.
    pub same_top: Estimate,
}

/// A distribution of values, from its smallest to its largest.
#[derive(Clone, Debug)]
pub struct Percentiles {
    /// Ascending.
    sorted: Vec<f32>,
}

impl Percentiles {
    pub(super) fn of(values: impl Iterator<Item = f32>) -> Self {
        let mut sorted: Vec<f32> = values.collect();
        sorted.sort_by(f32::total_cmp);
        Self { sorted }
    }

    /// The value below which `fraction` of all lie, interpolated between neighbours; zero where there are none.
    pub fn at(&self, fraction: f32) -> f32 {
        let Some(last) = self.sorted.len().checked_sub(1) else { return 0.0 };
        let place = fraction.clamp(0.0, 1.0) * last as f32;
        let (below, part) = (place as usize, place.fract());
        (1.0 - part) * self.sorted[below.min(last)] + part * self.sorted[(below + 1).min(last)]
    }

    /// The middle value, or the mean of the two in the middle.
    pub fn median(&self) -> f32 {
        let middle = self.sorted.len() / 2;
        match self.sorted.len() {
            0 => 0.0,
            len if len % 2 == 0 => 0.5 * (self.sorted[middle] + self.sorted[middle - 1]),
            _ => self.sorted[middle],
        }
    }
}

/// All figures of a comparison.
#[derive(Clone, Debug)]
pub struct Report {
    /// Positions compared.
    pub num_scored: usize,
    /// The figures that are also told while running.
    pub running: Running,
    /// Perplexity of the base.
    pub perplexity_base: Estimate,
    /// Correlation of the two log-likelihoods.
    pub correlation: f64,
    /// Perplexity less the base's.
    pub perplexity_diff: Estimate,
    /// Change of the right token's probability.
    pub p_diff: Estimate,
    /// Distribution of the Kullback-Leibler divergence over positions.
    pub kld_percentiles: Percentiles,
    /// Distribution of the change of the right token's probability over positions.
    pub p_diff_percentiles: Percentiles,
}

impl Divergence {
    pub(super) fn running(&self) -> Running {
        let (log, log_base) = (mean_nll(&self.nll), mean_nll(&self.nll_base));
        let variance = log.uncertainty.powi(2) + log_base.uncertainty.powi(2) - 2.0 * self.covariance();
        let same_top = self.num_same_top as f64 / self.nll.len() as f64;
        let others = self.nll.len() as f64 - 1.0;
        Running {
            perplexity: log.exp(),
            log_ratio: Estimate { value: log.value - log_base.value, uncertainty: variance.max(0.0).sqrt() },
            kld: Estimate::of(self.kld.iter().copied()),
            p_diff_rms: Estimate::of(self.p_diff.iter().map(|p| f64::from(p * p))).sqrt(),
            same_top: Estimate { value: same_top, uncertainty: (same_top * (1.0 - same_top) / others).sqrt() },
        }
    }

    pub(super) fn report(&self) -> Report {
        let running = self.running();
        let (log, log_base) = (mean_nll(&self.nll), mean_nll(&self.nll_base));
        let (perplexity, base) = (log.exp(), log_base.exp());
        let covariance = perplexity.value * base.value * self.covariance();
        let variance = perplexity.uncertainty.powi(2) + base.uncertainty.powi(2) - 2.0 * covariance;
        Report {
            num_scored: self.nll.len(),
            running,
            perplexity_base: base,
            correlation: self.covariance() / (log.uncertainty * log_base.uncertainty),
            perplexity_diff: Estimate { value: perplexity.value - base.value, uncertainty: variance.max(0.0).sqrt() },
            p_diff: Estimate::of(self.p_diff.iter().map(|p| f64::from(*p))),
            kld_percentiles: Percentiles::of(self.kld.iter().map(|kld| *kld as f32)),
            p_diff_percentiles: Percentiles::of(self.p_diff.iter().copied()),
        }
    }

    /// Covariance of the means of the two log-likelihoods.
    fn covariance(&self) -> f64 {
        let count = self.nll.len() as f64;
        if count < 10.0 {
            return 0.0;
        }
        let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let products = self.nll.iter().zip(&self.nll_base).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        (products / count - mean(&self.nll) * mean(&self.nll_base)) / (count - 1.0)
    }
}

fn mean_nll(nll: &[f32]) -> Estimate {
    Estimate::of(nll.iter().map(|nll| f64::from(*nll)))
}

/// One line of figures as llama-perplexity prints it after each chunk, without the chunk's number.
impl fmt::Display for Running {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { perplexity, log_ratio, kld, p_diff_rms, same_top } = self;
        write!(out, "    {:9.4} ± {:9.4}", perplexity.value, perplexity.uncertainty)?;
        write!(out, "    {:10.5} ± {:10.5}", log_ratio.value, log_ratio.uncertainty)?;
        write!(out, "    {:10.5} ± {:10.5}", kld.value, kld.uncertainty)?;
        write!(out, "    {:6.3} ± {:6.3} %", 100.0 * p_diff_rms.value, 100.0 * p_diff_rms.uncertainty)?;
        write!(out, "    {:6.3} ± {:6.3} %", 100.0 * same_top.value, 100.0 * same_top.uncertainty)
    }
}

/// The head above the lines of [`Running`].
pub const RUNNING_HEAD: &str = "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p";

/// The statistics that llama-perplexity prints at the end, in its words and order.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = &self.running;
        writeln!(out, "====== Perplexity statistics ======")?;
        let mut line =
            |name: &str, of: Estimate| writeln!(out, "{name:<30}: {:10.6} ± {:10.6}", of.value, of.uncertainty);
        line("Mean PPL(Q)", running.perplexity)?;
        line("Mean PPL(base)", self.perplexity_base)?;
        writeln!(out, "Cor(ln(PPL(Q)), ln(PPL(base))): {:6.2}%", 100.0 * self.correlation)?;
        let mut line =
            |name: &str, of: Estimate| writeln!(out, "{name:<30}: {:10.6} ± {:10.6}", of.value, of.uncertainty);
        line("Mean ln(PPL(Q)/PPL(base))", running.log_ratio)?;
        line("Mean PPL(Q)/PPL(base)", running.log_ratio.exp())?;
        line("Mean PPL(Q)-PPL(base)", self.perplexity_diff)?;

        writeln!(out, "\n====== KL divergence statistics ======")?;
        writeln!(out, "Mean    KLD: {:10.6} ± {:10.6}", running.kld.value, running.kld.uncertainty)?;
        for (name, fraction) in KLD_ROWS {
            let value = fraction.map_or(self.kld_percentiles.median(), |at| self.kld_percentiles.at(at));
            writeln!(out, "{name} KLD: {value:10.6}")?;
        }

        writeln!(out, "\n====== Token probability statistics ======")?;
        let percent = |of: Estimate| format!("{:6.3} ± {:5.3} %", 100.0 * of.value, 100.0 * of.uncertainty);
        writeln!(out, "Mean    Δp: {}", percent(self.p_diff))?;
        for (name, fraction) in P_DIFF_ROWS {
            let value = fraction.map_or(self.p_diff_percentiles.median(), |at| self.p_diff_percentiles.at(at));
            writeln!(out, "{name} Δp: {:6.3}%", 100.0 * value)?;
        }
        writeln!(out, "RMS Δp    : {}", percent(running.p_diff_rms))?;
        write!(out, "Same top p: {}", percent(running.same_top))
    }
}

/// Rows of the divergence table: name and fraction, the median where there is none.
#[rustfmt::skip]
const KLD_ROWS: &[(&str, Option<f32>)] = &[
    ("Maximum", Some(1.0)), ("99.9%  ", Some(0.999)), ("99.0%  ", Some(0.99)), ("95.0%  ", Some(0.95)),
    ("90.0%  ", Some(0.9)), ("Median ", None), ("10.0%  ", Some(0.1)), (" 5.0%  ", Some(0.05)),
    (" 1.0%  ", Some(0.01)), (" 0.1%  ", Some(0.001)), ("Minimum", Some(0.0)),
];

/// Rows of the token-probability table.
#[rustfmt::skip]
const P_DIFF_ROWS: &[(&str, Option<f32>)] = &[
    ("Maximum", Some(1.0)), ("99.9%  ", Some(0.999)), ("99.0%  ", Some(0.99)), ("95.0%  ", Some(0.95)),
    ("90.0%  ", Some(0.9)), ("75.0%  ", Some(0.75)), ("Median ", None), ("25.0%  ", Some(0.25)), ("10.0%  ", Some(0.1)),
    (" 5.0%  ", Some(0.05)), (" 1.0%  ", Some(0.01)), (" 0.1%  ", Some(0.001)), ("Minimum", Some(0.0)),
];
