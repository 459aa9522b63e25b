//! Log-probabilities of the model's own distribution, before any stage: what `logprobs` and `n_probs` report.

use super::{Candidates, Error};

/// ln p of `token` in the softmax of the row, and in `top` the `n` likeliest tokens with theirs, likeliest first.
pub fn logprobs(
    candidates: &mut Candidates,
    logits: &[f32],
    token: u32,
    n: usize,
    top: &mut Vec<(u32, f32)>,
) -> Result<f32, Error> {
    candidates.load(logits)?;
    let num_tokens = logits.len();
    if !candidates.weigh() {
        return Err(Error::NothingLeft { num_tokens });
    }
    let log_sum = candidates.log_sum_exp();
    let logprob = |logit: f32| (f64::from(logit) - log_sum) as f32;
    top.clear();
    top.extend(candidates.best(n).map(|index| (index as u32, logprob(logits[index]))));
    let logit = logits.get(token as usize).copied();
    logit.map(logprob).ok_or(Error::TokenOutOfVocab { what: "logprobs", token, num_tokens })
}
