//! Log-softmax of one row, in the mixture of f32 and f64 that llama.cpp uses, so that results agree to the last digit.
//! Called by the perplexity and the divergence of a row.

use super::RowError;

/// What is needed of a row to turn its logits into log-probabilities: `log p(i) = logits[i] - max - log_sum_exp`.
pub struct Normaliser {
    /// The largest logit.
    pub max: f32,
    /// Where it stands (the first of equals).
    pub argmax: usize,
    /// The logarithm of the sum of `exp(logit - max)`; exact in f64, and rounded where the formula wants f32.
    pub log_sum_exp: f64,
}

impl Normaliser {
    /// Reads a row. Infinity downwards is a probability of zero; anything else that is not finite is an error.
    pub fn of(logits: &[f32]) -> Result<Self, RowError> {
        let (mut max, mut argmax) = (f32::NEG_INFINITY, 0);
        for (at, logit) in logits.iter().enumerate() {
            if *logit > max {
                (max, argmax) = (*logit, at);
            }
        }
        // A NaN anywhere makes the sum NaN; a row without a finite maximum is no distribution.
        let sum: f64 = logits.iter().map(|logit| f64::from((logit - max).exp())).sum();
        if !max.is_finite() || !sum.is_finite() {
            return Err(RowError::NotFinite);
        }
        Ok(Self { max, argmax, log_sum_exp: sum.ln() })
    }

    /// The negative log-likelihood of one entry, in f32 as it is stored in files and compared there.
    pub fn nll_f32(&self, logit: f32) -> f32 {
        self.max + self.log_sum_exp as f32 - logit
    }

    /// The negative log-likelihood of one entry.
    pub fn nll(&self, logit: f32) -> f64 {
        -(f64::from(logit - self.max) - self.log_sum_exp)
    }
}
