//! The tokens still in the running. The engine keeps one list per thread and lends it to every sampler in turn; the
//! stages narrow it. Sized once for the vocabulary: a step allocates nothing.
//!
//! Ids always ascend: ties fall to the lowest id, and no result hangs on the order in which stages left the list.

use super::Error;
use super::exp::{UNIT, exp, mass};
use super::rank::Ranking;
use super::stage::Editable;
use super::token_set::TokenSet;

/// Token ids with their logits, as the stages of a chain see and narrow them.
#[derive(Debug, Clone)]
pub struct Candidates {
    ids: Vec<u32>,     // [num_tokens], the first `len` count
    logits: Vec<f32>,  // [num_tokens], beside `ids`
    weights: Vec<f32>, // [num_tokens], exp(logit − max) as of the last `weigh`
    len: usize,
    total: u64,   // sum of the weights, in units of 2^-40
    moved: usize, // entries of `ids` that may differ from 0, 1, 2 …
    selected: Option<usize>,
    ranking: Ranking,
    scores: Vec<f32>, // scratch of `keep_closest`
}

/// One candidate, as [`Candidates::retain`] shows it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its place in the list.
    pub index: usize,
    /// Its logit.
    pub logit: f32,
    /// As of the last `weigh`.
    pub probability: f32,
}

/// By which values to rank.
#[derive(Clone, Copy)]
enum By {
    Logit,
    Score,
}

impl Candidates {
    /// An empty list for a vocabulary of this size.
    pub fn new(num_tokens: usize) -> Self {
        Self {
            ids: (0..num_tokens as u32).collect(),
            logits: vec![0.0; num_tokens],
            weights: vec![0.0; num_tokens],
            len: 0,
            total: 0,
            moved: 0,
            selected: None,
            ranking: Ranking::new(num_tokens),
            scores: Vec::with_capacity(num_tokens),
        }
    }

    /// Starts over with a row of the model's logits. NaN and +infinity are refused.
    pub fn load(&mut self, logits: &[f32]) -> Result<(), Error> {
        let num_tokens = self.ids.len();
        if logits.len() != num_tokens {
            return Err(Error::RowLength { len: logits.len(), num_tokens });
        }
        (self.len, self.total, self.selected) = (0, 0, None);
        let mut bad = false;
        for (to, &from) in self.logits.iter_mut().zip(logits) {
            bad |= from.is_nan() | (from == f32::INFINITY);
            *to = from;
        }
        if bad && let Some(token) = logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            return Err(Error::BadLogit { token: token as u32, value: logits[token] });
        }
        for (token, id) in self.ids[..self.moved].iter_mut().enumerate() {
            *id = token as u32;
        }
        (self.len, self.moved) = (num_tokens, 0);
        Ok(())
    }

    /// Leaves, of a row just loaded, the tokens of a set.
    pub(super) fn restrict(&mut self, allowed: &TokenSet) {
        if 2 * allowed.len() > self.len {
            // To exclude a few is less work than to move all others together.
            allowed.others(self.len).for_each(|token| self.logits[token as usize] = f32::NEG_INFINITY);
            return;
        }
        let (mut kept, loaded) = (0, self.len);
        for token in allowed.iter().map(|token| token as usize).take_while(|&token| token < loaded) {
            self.copy(token, kept);
            kept += 1;
        }
        self.len = kept;
    }

    /// Empties the list, for a form of the chain that fills it with what its first stages leave of a row.
    pub fn clear(&mut self) {
        (self.len, self.total, self.selected) = (0, 0, None);
    }

    /// Appends a candidate. Ids must ascend and lie in the vocabulary; others are not taken.
    #[inline]
    pub fn push(&mut self, token: u32, logit: f32) {
        let after_last = self.len == 0 || self.ids[self.len - 1] < token;
        if after_last && (token as usize) < self.ids.len() {
            self.ids[self.len] = token;
            self.logits[self.len] = logit;
            self.len += 1;
            self.moved = self.moved.max(self.len);
        }
    }

    /// Ends the chain with the token that was drawn, its weight exp(logit − max) and the sum of all masses.
    pub fn conclude(&mut self, token: u32, logit: f32, weight: f32, total: u64) {
        self.clear();
        self.push(token, logit);
        if self.len == 1 {
            (self.weights[0], self.total, self.selected) = (weight, total, Some(0));
        }
    }

    /// Number of candidates. Those at -infinity are excluded and still counted, as in llama.cpp.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Token ids of the candidates, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.len]
    }

    /// Logits of the candidates, beside [`Self::ids`].
    pub fn logits(&self) -> &[f32] {
        &self.logits[..self.len]
    }

    /// What the chain chose: an index into [`Self::ids`].
    pub fn selected(&self) -> Option<usize> {
        self.selected
    }

    /// Probability of the candidate at `index` when probabilities were last computed; once a chain has run, those of
    /// its final draw.
    pub fn probability(&self, index: usize) -> f32 {
        let mass = self.weights.get(index).map_or(0, |&weight| mass(weight));
        if self.total == 0 { 0.0 } else { self.share(mass) as f32 }
    }

    /// Indices of the `n` best candidates, best first: by logit, equal ones by id.
    pub fn best(&mut self, n: usize) -> impl Iterator<Item = usize> {
        self.ranking.search(&self.logits[..self.len], n);
        self.ranking.found()
    }

    /// The largest logit; -infinity when there is none.
    pub fn max_logit(&self) -> f32 {
        super::rank::max(self.logits())
    }

    /// ln Σ exp(logit), as of the last `weigh`.
    pub(super) fn log_sum_exp(&self) -> f64 {
        f64::from(self.max_logit()) + (self.total as f64 / f64::from(UNIT)).ln()
    }

    /// The weights, as of the last `weigh`, beside [`Self::ids`].
    pub fn weights(&self) -> &[f32] {
        &self.weights[..self.len]
    }

    /// The sum of the weights in units of 2^-40, as of the last `weigh`.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Computes the weights exp(logit − max) and their sum. False when no candidate has any (all at -infinity).
    pub fn weigh(&mut self) -> bool {
        let max = self.max_logit();
        self.total = 0;
        if !max.is_finite() {
            return false;
        }
        for (weight, logit) in self.weights[..self.len].iter_mut().zip(&self.logits[..self.len]) {
            *weight = exp(logit - max);
        }
        self.total = self.weights[..self.len].iter().map(|&weight| mass(weight)).sum();
        true
    }

    /// Σ −p ln p, as of the last `weigh`.
    pub(super) fn entropy(&self) -> f64 {
        let weights = self.weights[..self.len].iter().map(|&weight| f64::from(weight)).filter(|&weight| weight > 0.0);
        weights.map(|weight| weight * f64::from(UNIT) / self.total as f64).map(|p| -p * p.ln()).sum()
    }

    /// Applies a function to every logit.
    pub(super) fn map(&mut self, change: impl Fn(f32) -> f32) {
        for logit in &mut self.logits[..self.len] {
            *logit = change(*logit);
        }
    }

    /// Applies a function of (logit, probability as of the last `weigh`) to every logit.
    pub(super) fn map_by_probability(&mut self, change: impl Fn(f32, f32) -> f32) {
        for index in 0..self.len {
            self.logits[index] = change(self.logits[index], self.probability(index));
        }
    }

    /// Keeps the candidates that the test accepts.
    pub fn retain(&mut self, keep: impl Fn(Entry) -> bool) {
        let mut kept = 0;
        for index in 0..self.len {
            if keep(Entry { index, logit: self.logits[index], probability: self.probability(index) }) {
                self.copy(index, kept);
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Keeps the best candidate alone.
    pub(super) fn keep_best(&mut self) {
        let max = self.max_logit();
        if let Some(best) = self.logits().iter().position(|&logit| logit == max) {
            self.copy(best, 0);
            self.len = 1;
        }
    }

    /// Keeps the `n` best candidates.
    pub(super) fn keep_top(&mut self, n: usize) {
        if n < self.len {
            self.ranking.search(&self.logits[..self.len], n);
            self.keep_ranked(n);
        }
    }

    /// Keeps the best candidates up to the first at which `enough(number, summed probability)` holds; all of them if
    /// it never does. Call `weigh` first.
    pub(super) fn keep_likeliest(&mut self, enough: impl Fn(usize, f64) -> bool) {
        self.keep_until(By::Logit, enough);
    }

    /// The same, taking first the candidates whose −ln p lies closest to `surprise`.
    pub(super) fn keep_closest(&mut self, surprise: f64, enough: impl Fn(usize, f64) -> bool) {
        self.scores.clear();
        let probabilities = self.weights[..self.len].iter().map(|&weight| mass(weight) as f64 / self.total as f64);
        self.scores.extend(probabilities.map(|p| -(-p.ln() - surprise).abs() as f32));
        self.keep_until(By::Score, enough);
    }

    fn keep_until(&mut self, by: By, enough: impl Fn(usize, f64) -> bool) {
        let mut n = 256; // few candidates carry most of the probability: rank more only when they did not do
        loop {
            let values = match by {
                By::Logit => &self.logits[..self.len],
                By::Score => &self.scores[..],
            };
            self.ranking.search(values, n);
            let mut sum = 0;
            let count = self.ranking.found().enumerate().find_map(|(nth, index)| {
                sum += mass(self.weights[index]);
                enough(nth + 1, sum as f64 / self.total as f64).then_some(nth + 1)
            });
            match count {
                Some(count) => return self.keep_ranked(count),
                None if n >= self.len => return,
                None => n *= 8,
            }
        }
    }

    /// Draws by inverting the cumulative distribution, in the order of the ids, at `bits` / 2^64.
    /// Selects nothing when no candidate has any weight.
    pub(super) fn draw(&mut self, bits: u64) {
        self.selected = None;
        if !self.weigh() {
            return;
        }
        let target = ((u128::from(bits) * u128::from(self.total)) >> 64) as u64; // uniform in 0..total
        let mut running = 0;
        self.selected = self.weights[..self.len].iter().position(|&weight| {
            running += mass(weight);
            running > target
        });
    }

    fn keep_ranked(&mut self, n: usize) {
        let mut ranking = std::mem::take(&mut self.ranking); // lent out: `copy` needs all of self
        self.len = 0;
        for index in ranking.first_ascending(n) {
            self.copy(index, self.len);
            self.len += 1;
        }
        self.ranking = ranking;
    }

    fn copy(&mut self, from: usize, to: usize) {
        if from != to {
            self.ids[to] = self.ids[from];
            self.logits[to] = self.logits[from];
            self.moved = self.moved.max(to + 1);
        }
    }

    fn share(&self, mass: u64) -> f64 {
        mass as f64 / self.total as f64
    }
}

impl Editable for Candidates {
    fn change(&mut self, token: u32, change: &dyn Fn(f32) -> f32) {
        let dense = self.len == self.ids.len();
        let index = if dense { Some(token as usize) } else { self.ids().binary_search(&token).ok() };
        if let Some(logit) = index.and_then(|index| self.logits.get_mut(index)) {
            *logit = change(*logit);
        }
    }
}
