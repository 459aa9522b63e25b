//! How far a plan's distributions are from those kept in a file: Kullback-Leibler divergence, agreement on the most
//! likely token, change of the right token's probability. Called by the `perplexity --kl-divergence` command.

use super::report::{Report, Running};
use super::{BaseReader, Chunking, LogitsSource, RowError, eval_scored, softmax::Normaliser};
use crate::Error;
use std::io::Read;

/// Base log-probabilities below this do not take part: the file cannot tell them apart.
const LEAST_LOG_PROB: f32 = -16.0;

/// Compares a source with the base distributions over the text that the file holds. `bos` is what a chunk begins with,
/// as in [`super::Chunking`]; `on_chunk` hears the number of chunks done and the figures so far, after each.
pub fn divergence<R: Read>(
    source: &mut dyn LogitsSource,
    base: &mut BaseReader<R>,
    bos: Option<u32>,
    on_chunk: &mut dyn FnMut(usize, &Running),
) -> Result<Report, Error> {
    if source.vocab_size() != base.vocab_size() {
        return Err(Error::OtherVocabulary { base: base.vocab_size(), model: source.vocab_size() });
    }
    let chunking = Chunking { context: base.context(), max_chunks: None, bos };
    let tokens = base.tokens().to_vec();
    let mut divergence = Divergence::default();
    let mut base_log_probs = Vec::new();
    for (chunk, tokens) in tokens.chunks_exact(chunking.context).enumerate() {
        eval_scored(source, &chunking, chunk, tokens, &mut |logits, next| {
            base.row(&mut base_log_probs)?;
            divergence.add(logits, &base_log_probs, next as usize)
        })?;
        on_chunk(chunk + 1, &divergence.running());
    }
    Ok(divergence.report())
}

/// What is kept of every scored position.
#[derive(Default)]
pub(super) struct Divergence {
    /// Negative log-likelihood of the token that followed.
    pub(super) nll: Vec<f32>,
    pub(super) nll_base: Vec<f32>,
    /// Kullback-Leibler divergence of the row from the base row.
    pub(super) kld: Vec<f64>,
    /// Probability of the token that followed, less the base's.
    pub(super) p_diff: Vec<f32>,
    /// Rows in which both name the same most likely token.
    pub(super) num_same_top: usize,
}

impl Divergence {
    /// Adds one position: logits, the base's log-probabilities, and the token that followed.
    fn add(&mut self, logits: &[f32], base: &[f32], next: usize) -> Result<(), RowError> {
        let row = Normaliser::of(logits)?;
        let log_normaliser = row.max + row.log_sum_exp as f32;
        let (mut kld, mut top, mut top_log_prob) = (0.0, 0, f32::NEG_INFINITY);
        for (at, (log_prob, logit)) in base.iter().zip(logits).enumerate() {
            if *log_prob > top_log_prob {
                (top, top_log_prob) = (at, *log_prob);
            }
            if *log_prob > LEAST_LOG_PROB {
                kld += f64::from(log_prob.exp() * (log_prob - logit + log_normaliser));
            }
        }
        let (nll, nll_base) = (row.nll_f32(logits[next]), -base[next]);
        self.nll.push(nll);
        self.nll_base.push(nll_base);
        self.kld.push(kld);
        self.p_diff.push((-nll).exp() - (-nll_base).exp());
        self.num_same_top += usize::from(top == row.argmax);
        Ok(())
    }
}
