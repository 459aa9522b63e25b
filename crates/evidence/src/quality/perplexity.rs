//! Perplexity of a text under a plan. Called by the `perplexity` command.

use super::{BaseWriter, Chunking, LogitsSource, RowError, check_tokens, eval_scored, softmax::Normaliser};
use crate::Error;
use std::fmt;
use std::io::Write;

/// The perplexity over all scored tokens: `exp` of the mean negative log-likelihood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// The estimate.
    pub value: f64,
    /// One standard error; zero where too few tokens were scored to tell.
    pub uncertainty: f64,
    /// Tokens scored.
    pub num_scored: usize,
    /// Chunks evaluated.
    pub num_chunks: usize,
}

/// `Final estimate: PPL = 23.5900 +/- 1.35210`, the last line of llama-perplexity.
impl fmt::Display for Perplexity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Final estimate: PPL = {:.4} +/- {:.5}", self.value, self.uncertainty)
    }
}

/// Scores a text. `base` keeps the distributions for a later [`super::divergence()`]; `on_chunk` hears the number of chunks
/// done and the perplexity so far, after each.
pub fn perplexity(
    source: &mut dyn LogitsSource,
    tokens: &[u32],
    chunking: &Chunking,
    base: Option<&mut dyn Write>,
    on_chunk: &mut dyn FnMut(usize, f64),
) -> Result<Perplexity, Error> {
    chunking.check()?;
    let vocab_size = source.vocab_size();
    check_tokens(tokens, vocab_size)?;
    let context = chunking.context;
    if tokens.len() < 2 * context {
        return Err(Error::TextTooShort { found: tokens.len(), context });
    }
    let filled = tokens.len() / context;
    let num_chunks = chunking.max_chunks.map_or(filled, |most| most.min(filled));
    let tokens = &tokens[..num_chunks * context];
    let mut base = base.map(|out| BaseWriter::begin(out, context, vocab_size, tokens)).transpose()?;

    let mut sums = Sums::default();
    for (chunk, tokens) in tokens.chunks_exact(context).enumerate() {
        eval_scored(source, chunking, chunk, tokens, &mut |logits, next| {
            let row = Normaliser::of(logits)?;
            let logit = logits[next as usize];
            let nll = match &mut base {
                Some(base) => {
                    base.row(logits, &row)?;
                    f64::from(row.nll_f32(logit))
                }
                None => row.nll(logit),
            };
            sums.add(nll);
            Ok::<(), RowError>(())
        })?;
        on_chunk(chunk + 1, sums.perplexity());
    }
    if let Some(base) = base {
        base.finish()?;
    }
    Ok(Perplexity { value: sums.perplexity(), uncertainty: sums.uncertainty(), num_scored: sums.count, num_chunks })
}

/// Running sums of the negative log-likelihood and of its square.
#[derive(Default)]
struct Sums {
    nll: f64,
    nll2: f64,
    count: usize,
}

impl Sums {
    fn add(&mut self, nll: f64) {
        self.nll += nll;
        self.nll2 += nll * nll;
        self.count += 1;
    }

    fn perplexity(&self) -> f64 {
        (self.nll / self.count as f64).exp()
    }

    /// The standard error of the mean, carried through `exp`: `d exp(x) = exp(x) dx`.
    fn uncertainty(&self) -> f64 {
        let count = self.count as f64;
        let mean = self.nll / count;
        let variance = self.nll2 / count - mean * mean;
        if variance > 0.0 && self.count > 1 { (variance / (count - 1.0)).sqrt() * self.perplexity() } else { 0.0 }
    }
}
