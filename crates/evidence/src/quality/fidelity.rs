//! How true two configurations of one model are to its exact plan, position by position over one text: perplexity, KL
//! divergence, agreement on the likeliest token, the largest error of a logit. Called by the `ab` command.
//!
//! All three are evaluated chunk by chunk side by side; of the exact plan one chunk's rows are held at a time.

use serde::{Deserialize, Serialize};

use super::report::{Estimate, Percentiles};
use super::softmax::Normaliser;
use super::{Chunking, LogitsSource, RowError, check_tokens, eval_scored};
use crate::Error;

/// Which of the three has just done a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceName {
    /// The exact plan.
    Exact,
    /// The first configuration.
    A,
    /// The second.
    B,
}

/// How far one configuration is from the exact plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Positions scored.
    pub num_scored: usize,
    /// Perplexity of the text.
    pub perplexity: f64,
    /// That of the exact plan.
    pub perplexity_exact: f64,
    /// `ln(perplexity / perplexity_exact)`, its error from the differences position by position.
    pub log_ratio: Estimate,
    /// Kullback-Leibler divergence from the exact plan.
    pub kld: Estimate,
    /// What 99 of 100 positions stay below.
    pub kld_p99: f64,
    /// Its percentiles, from the least to the largest: 101 values.
    pub kld_percentiles: Vec<f32>,
    /// Share of positions where both name the same likeliest token.
    pub same_top: Estimate,
    /// The largest difference of a logit.
    pub max_logit_error: f32,
}

impl Quality {
    /// By how much the perplexity is larger than the exact plan's: 0.01 is 1 %.
    pub fn loss(&self) -> f64 {
        self.log_ratio.value.exp_m1()
    }

    /// The interval of [`Self::loss`], with 95 % confidence.
    pub fn loss_interval(&self) -> (f64, f64) {
        let (low, high) = self.log_ratio.interval();
        (low.exp_m1(), high.exp_m1())
    }
}

/// Both configurations.
#[derive(Debug)]
pub struct Fidelity {
    /// The first; or why its numbers could not be had.
    pub a: Result<Quality, Error>,
    /// The second.
    pub b: Result<Quality, Error>,
    /// By how much the second's divergence is larger than the first's, from the differences position by position.
    pub kld_excess: Option<Estimate>,
}

/// Scores the text with all three. `on_chunk` hears who has done a chunk, after each.
///
/// # Errors
/// When the text is too short, or the exact plan fails. A configuration that fails is a result.
pub fn fidelity(
    exact: &mut dyn LogitsSource,
    a: &mut dyn LogitsSource,
    b: &mut dyn LogitsSource,
    tokens: &[u32],
    chunking: &Chunking,
    on_chunk: &mut dyn FnMut(SourceName),
) -> Result<Fidelity, Error> {
    chunking.check()?;
    let (context, vocab_size) = (chunking.context, exact.vocab_size());
    check_tokens(tokens, vocab_size)?;
    if tokens.len() < context {
        return Err(Error::TextTooShort { found: tokens.len(), context });
    }
    let mut base = Base { vocab_size, ..Base::default() };
    let (mut scores_a, mut scores_b) = (Ok(Scores::default()), Ok(Scores::default()));
    for (chunk, tokens) in tokens.chunks_exact(context).enumerate().take(chunking.max_chunks.unwrap_or(usize::MAX)) {
        base.clear();
        eval_scored(exact, chunking, chunk, tokens, &mut |logits, next| base.add(logits, next))?;
        on_chunk(SourceName::Exact);
        add_chunk(&mut scores_a, a, &base, chunking, chunk, tokens);
        on_chunk(SourceName::A);
        add_chunk(&mut scores_b, b, &base, chunking, chunk, tokens);
        on_chunk(SourceName::B);
    }
    let kld_excess = match (&scores_a, &scores_b) {
        (Ok(a), Ok(b)) => Some(Estimate::of(a.kld.iter().zip(&b.kld).map(|(a, b)| b - a))),
        _ => None,
    };
    Ok(Fidelity { a: scores_a.map(|scores| scores.quality()), b: scores_b.map(|scores| scores.quality()), kld_excess })
}

/// The exact plan's rows of one chunk.
#[derive(Default)]
struct Base {
    vocab_size: usize,
    /// `[rows, vocab_size]`.
    logits: Vec<f32>,
    rows: Vec<Row>,
}

/// What is known of a row of logits.
#[derive(Clone, Copy)]
struct Row {
    /// Of the token that followed.
    nll: f64,
    /// `log p(i) = logits[i] - log_sum`.
    log_sum: f64,
    argmax: usize,
}

impl Base {
    fn clear(&mut self) {
        self.logits.clear();
        self.rows.clear();
    }

    fn add(&mut self, logits: &[f32], next: u32) -> Result<(), RowError> {
        let row = Row::of(logits, next)?;
        self.logits.extend_from_slice(logits);
        self.rows.push(row);
        Ok(())
    }
}

impl Row {
    fn of(logits: &[f32], next: u32) -> Result<Self, RowError> {
        let row = Normaliser::of(logits)?;
        let nll = row.nll(logits[next as usize]);
        Ok(Self { nll, log_sum: f64::from(row.max) + row.log_sum_exp, argmax: row.argmax })
    }
}

/// Evaluates a chunk of one configuration, unless it has failed already.
fn add_chunk(
    scores: &mut Result<Scores, Error>,
    source: &mut dyn LogitsSource,
    base: &Base,
    chunking: &Chunking,
    chunk: usize,
    tokens: &[u32],
) {
    let Ok(so_far) = scores else { return };
    let mut rows = base.rows.iter().zip(base.logits.chunks_exact(base.vocab_size.max(1)));
    let outcome = if source.vocab_size() == base.vocab_size {
        eval_scored(source, chunking, chunk, tokens, &mut |logits, next| match rows.next() {
            Some((row, exact)) => so_far.add(logits, next, row, exact),
            None => Ok(()),
        })
    } else {
        Err(Error::OtherVocabulary { base: base.vocab_size, model: source.vocab_size() })
    };
    if let Err(error) = outcome {
        *scores = Err(error);
    }
}

/// What is kept of every scored position of one configuration.
#[derive(Default)]
struct Scores {
    nll: Vec<f64>,
    nll_exact: Vec<f64>,
    kld: Vec<f64>,
    num_same_top: usize,
    max_logit_error: f32,
}

impl Scores {
    fn add(&mut self, logits: &[f32], next: u32, base: &Row, exact: &[f32]) -> Result<(), RowError> {
        let row = Row::of(logits, next)?;
        let (shift, base_sum) = ((row.log_sum - base.log_sum) as f32, base.log_sum as f32);
        let (mut kld, mut error) = (0.0, 0f32);
        for (of_exact, logit) in exact.iter().zip(logits) {
            let difference = of_exact - logit;
            let probability = (of_exact - base_sum).exp();
            if probability > 0.0 {
                kld += f64::from(probability * (difference + shift));
            }
            error = error.max(difference.abs());
        }
        self.nll.push(row.nll);
        self.nll_exact.push(base.nll);
        // Rounding alone may leave a little less than nothing.
        self.kld.push(kld.max(0.0));
        self.num_same_top += usize::from(row.argmax == base.argmax);
        self.max_logit_error = self.max_logit_error.max(error);
        Ok(())
    }

    fn quality(&self) -> Quality {
        let count = self.nll.len();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count.max(1) as f64;
        let percentiles = Percentiles::of(self.kld.iter().map(|kld| *kld as f32));
        let same = self.num_same_top as f64 / count.max(1) as f64;
        let others = count.saturating_sub(1).max(1) as f64;
        Quality {
            num_scored: count,
            perplexity: mean(&self.nll).exp(),
            perplexity_exact: mean(&self.nll_exact).exp(),
            log_ratio: Estimate::of(self.nll.iter().zip(&self.nll_exact).map(|(nll, exact)| nll - exact)),
            kld: Estimate::of(self.kld.iter().copied()),
            kld_p99: f64::from(percentiles.at(0.99)),
            kld_percentiles: (0..=100).map(|percent| percentiles.at(percent as f32 / 100.0)).collect(),
            same_top: Estimate { value: same, uncertainty: (same * (1.0 - same) / others).sqrt() },
            max_logit_error: self.max_logit_error,
        }
    }
}

#[cfg(test)]
mod tests;
