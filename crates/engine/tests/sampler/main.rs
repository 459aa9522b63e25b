//! Tests of the sampler through its public doors. Below are the few functions that all of them use.

mod draw;
mod oracle;
mod params;
mod properties;
mod reference;
mod stages;
mod state;

use engine::sampler::{Breaker, Candidates, Error, Params, Sampled, Sampler, VocabInfo};

/// Parameters from `field=value` words.
pub fn params(text: &str) -> Params {
    let mut params = Params::default();
    for word in text.split_whitespace() {
        let (field, value) = word.split_once('=').expect("field=value");
        params.parse(field, value).unwrap_or_else(|error| panic!("{word}: {error}"));
    }
    params
}

/// A sampler with these parameters that has accepted `history`.
pub fn sampler(text: &str, num_tokens: usize, history: &[u32], breakers: &[Breaker]) -> Sampler {
    let vocab = VocabInfo { num_tokens, breakers, ..VocabInfo::default() };
    let mut sampler = Sampler::new(&params(text), &vocab, 42).expect("valid parameters");
    sampler.accept_all(history);
    sampler
}

/// What the chain leaves of a row: tokens above -infinity with their logits, ids ascending.
pub fn survivors(text: &str, logits: &[f32], history: &[u32], breakers: &[Breaker]) -> Vec<(u32, f32)> {
    let mut candidates = Candidates::new(logits.len());
    sampler(text, logits.len(), history, breakers).sample(&mut candidates, logits).expect("a token");
    left(&candidates)
}

/// The candidates above -infinity.
pub fn left(candidates: &Candidates) -> Vec<(u32, f32)> {
    let all = candidates.ids().iter().copied().zip(candidates.logits().iter().copied());
    all.filter(|(_, logit)| *logit > f32::NEG_INFINITY).collect()
}

/// One draw from a fresh chain.
pub fn sample(text: &str, logits: &[f32]) -> Result<Sampled, Error> {
    sampler(text, logits.len(), &[], &[]).sample(&mut Candidates::new(logits.len()), logits)
}

/// A small generator for rows that need no more than variety.
pub struct Lcg(pub u32);

impl Lcg {
    /// 16 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 16
    }

    /// Between 0 and 1, in steps of 1/65536.
    pub fn unit(&mut self) -> f32 {
        self.bits() as f32 / 65536.0
    }

    /// A row shaped like a model's: a few high logits, many low ones.
    pub fn row(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit().powi(4) * 18.0 - 6.0 + self.unit()).collect()
    }
}
