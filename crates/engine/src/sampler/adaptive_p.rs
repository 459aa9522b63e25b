//! Adaptive-p: draws tokens whose probability lies near a target, and steers the average probability of the tokens
//! drawn so far towards it. Ends the chain in place of the draw. Source: its description in llama.cpp's `llama.h`
//! and github.com/ggml-org/llama.cpp/pull/17927.

use super::draw::{self, STREAM};
use super::journal::Journal;
use super::stage::{Built, Setup, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec =
    StageSpec { name: "adaptive_p", letter: Some('a'), aliases: &[], params: &[&TARGET, &DECAY], build };

const TARGET: ParamSpec = ParamSpec {
    field: "adaptive_target",
    flags: &["--adaptive-target"],
    kind: Kind::Float { min: f32::MIN, max: 1.0, default: -1.0 },
    help: "adaptive-p: draw tokens near this probability (negative = disabled)",
    group: "adaptive-p",
};

const DECAY: ParamSpec = ParamSpec {
    field: "adaptive_decay",
    flags: &["--adaptive-decay"],
    kind: Kind::Float { min: 0.0, max: 0.99, default: 0.9 },
    help: "adaptive-p: decay of the average over past tokens",
    group: "adaptive-p",
};

/// Distance from the target, in probability, at which the bent part of the curve ends.
const WIDTH: f32 = 0.3;
/// Logit of a candidate that has just the target probability.
const PEAK: f32 = 5.0;
/// Slope of the far tails, in logits per `WIDTH`.
const SHARPNESS: f32 = 10.0;

fn build(setup: &Setup) -> Built {
    let (target, decay) = (setup.params.float(&TARGET), setup.params.float(&DECAY));
    if target < 0.0 {
        return (draw::STAGE.build)(setup);
    }
    // As if the target had been hit ever since.
    let average = Average { sum: target / (1.0 - decay), weight: 1.0 / (1.0 - decay) };
    Ok(Some(Box::new(AdaptiveP { target, decay, average: Journal::new(average), before: Vec::new(), drawn: None })))
}

/// Exponential average over the probabilities of the tokens drawn: `sum / weight`.
#[derive(Debug, Clone, Copy)]
struct Average {
    sum: f32,
    weight: f32,
}

#[derive(Debug, Clone)]
struct AdaptiveP {
    target: f32,
    decay: f32,
    average: Journal<Average>,
    before: Vec<f32>,          // scratch: probabilities before the transform
    drawn: Option<(u32, f32)>, // last token drawn, with its probability before the transform
}

impl Stage for AdaptiveP {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step) {
        self.drawn = None;
        if !candidates.weigh() {
            return;
        }
        let Average { sum, weight } = self.average.now();
        let aim = (2.0 * self.target - sum / weight).clamp(0.0, 1.0);
        self.before.clear();
        self.before.extend((0..candidates.len()).map(|index| candidates.probability(index)));
        candidates.map_by_probability(|logit, probability| {
            let distance = ((probability - aim) / WIDTH).abs();
            if logit == f32::NEG_INFINITY { logit } else { PEAK - SHARPNESS * distance * distance / (1.0 + distance) }
        });
        candidates.draw(step.bits(STREAM));
        self.drawn = candidates.selected().map(|index| (candidates.ids()[index], self.before[index]));
    }

    fn accept(&mut self, token: u32, position: usize) {
        // A token that was not drawn here (the prompt, a forced one) says nothing about the draws.
        if let Some((_, probability)) = self.drawn.take_if(|(drawn, _)| *drawn == token) {
            let Average { sum, weight } = self.average.now();
            let average = Average { sum: probability + self.decay * sum, weight: 1.0 + self.decay * weight };
            self.average.set(position, average);
        }
        self.drawn = None;
    }

    fn rollback(&mut self, position: usize) {
        self.average.rollback(position);
        self.drawn = None;
    }

    fn reserve(&mut self, num_tokens: usize) {
        self.average.reserve(num_tokens);
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
