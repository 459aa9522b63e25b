//! Mirostat 1 and 2 (Basu et al. 2020, arXiv 2007.14966): cut the candidates so that the surprise of the tokens drawn
//! stays near tau. With temperature they replace the whole chain.

use super::draw::STREAM;
use super::journal::Journal;
use super::stage::{Built, Setup, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec, Params};

pub(super) const STAGE: StageSpec =
    StageSpec { name: "mirostat", letter: None, aliases: &[], params: &[&MIROSTAT, &TAU, &ETA], build };

const MIROSTAT: ParamSpec = ParamSpec {
    field: "mirostat",
    flags: &["--mirostat"],
    kind: Kind::Int { min: 0, max: 2, default: 0 },
    help: "Mirostat instead of all samplers but temperature (0 = disabled, 1 = Mirostat, 2 = Mirostat 2.0)",
    group: "Mirostat",
};

const TAU: ParamSpec = ParamSpec {
    field: "mirostat_tau",
    flags: &["--mirostat-ent"],
    kind: Kind::Float { min: 0.0, max: f32::MAX, default: 5.0 },
    help: "Mirostat: target entropy, tau",
    group: "Mirostat",
};

const ETA: ParamSpec = ParamSpec {
    field: "mirostat_eta",
    flags: &["--mirostat-lr"],
    kind: Kind::Float { min: 0.0, max: f32::MAX, default: 0.1 },
    help: "Mirostat: learning rate, eta",
    group: "Mirostat",
};

/// Candidates from which version 1 estimates the exponent of the distribution's power law; the paper's m.
const ESTIMATED_FROM: usize = 100;

/// 0 for off.
pub(super) fn version(params: &Params) -> i64 {
    params.int(&MIROSTAT)
}

fn build(setup: &Setup) -> Built {
    let (tau, eta) = (setup.params.float(&TAU), setup.params.float(&ETA));
    let first = version(setup.params) == 1;
    let num_tokens = setup.vocab.num_tokens;
    Ok(Some(Box::new(Mirostat {
        first,
        num_tokens,
        tau,
        eta,
        mu: Journal::new(2.0 * tau),
        drawn: None,
        best: Vec::new(),
    })))
}

#[derive(Debug, Clone)]
struct Mirostat {
    first: bool,
    num_tokens: usize,
    tau: f32,
    eta: f32,
    mu: Journal<f32>,          // the largest surprise allowed, in bits
    drawn: Option<(u32, f32)>, // last token drawn, with its surprise in bits
    best: Vec<usize>,          // scratch
}

impl Stage for Mirostat {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step) {
        self.drawn = None;
        if !candidates.weigh() {
            return;
        }
        if self.first {
            let k = self.cut_by_zipf(candidates);
            candidates.keep_top(k);
        } else {
            self.cut_by_surprise(candidates);
        }
        candidates.draw(step.bits(STREAM));
        self.drawn =
            candidates.selected().map(|index| (candidates.ids()[index], -candidates.probability(index).log2()));
    }

    fn accept(&mut self, token: u32, position: usize) {
        if let Some((_, surprise)) = self.drawn.take_if(|(drawn, _)| *drawn == token) {
            self.mu.set(position, self.mu.now() - self.eta * (surprise - self.tau));
        }
        self.drawn = None;
    }

    fn rollback(&mut self, position: usize) {
        self.mu.rollback(position);
        self.drawn = None;
    }

    fn reserve(&mut self, num_tokens: usize) {
        self.mu.reserve(num_tokens);
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

impl Mirostat {
    /// Version 1: the k for which a Zipf distribution with the estimated exponent has surprise mu (the paper's eq. 4
    /// and algorithm 1).
    fn cut_by_zipf(&mut self, candidates: &mut Candidates) -> usize {
        let (mut numerator, mut denominator) = (0.0f32, 0.0f32);
        let mut previous = None;
        self.best.clear();
        self.best.extend(candidates.best(ESTIMATED_FROM));
        for (rank, logit) in self.best.iter().map(|&index| candidates.logits()[index]).enumerate() {
            if let Some(above) = previous.replace(logit).filter(|_| logit != f32::NEG_INFINITY) {
                let t = ((rank + 1) as f32 / rank as f32).ln();
                numerator += t * (above - logit); // ln(p_i / p_i+1) is the difference of the logits
                denominator += t * t;
            }
        }
        let exponent = numerator / denominator;
        let epsilon = exponent - 1.0;
        let k = (epsilon * self.mu.now().exp2() / (1.0 - (self.num_tokens as f32).powf(-epsilon))).powf(1.0 / exponent);
        (k as usize).max(1)
    }

    /// Version 2: no token more surprising than mu; the best one always stays.
    fn cut_by_surprise(&self, candidates: &mut Candidates) {
        let mu = self.mu.now();
        if (0..candidates.len()).any(|index| -candidates.probability(index).log2() <= mu) {
            candidates.retain(|entry| -entry.probability.log2() <= mu);
        } else {
            candidates.keep_best();
        }
    }
}
