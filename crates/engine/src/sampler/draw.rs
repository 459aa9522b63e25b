//! The draw that ends the chain: one token, by the probabilities of the candidates that are left.

use super::stage::{Effect, Setup, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec, Params};

/// Philox stream of the stages that select; XTC has another, so that its coin does not tilt the draw.
pub(super) const STREAM: u32 = 0;

pub(super) const STAGE: StageSpec = StageSpec {
    name: "draw",
    letter: None,
    aliases: &[],
    params: &[&SEED],
    build: |_: &Setup| Ok(Some(Box::new(Draw))),
};

const SEED: ParamSpec = ParamSpec {
    field: "seed",
    flags: &["-s", "--seed"],
    kind: Kind::Int { min: -1, max: u32::MAX as i64, default: -1 },
    help: "seed of the random draws (-1 or 4294967295 = a random seed)",
    group: "sampling",
};

/// The seed that was asked for; `None` for a random one.
pub(super) fn seed(params: &Params) -> Option<u64> {
    u32::try_from(params.int(&SEED)).ok().filter(|&seed| seed != u32::MAX).map(u64::from)
}

#[derive(Debug, Clone)]
struct Draw;

impl Stage for Draw {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step) {
        candidates.draw(step.bits(STREAM));
    }

    fn effect(&self) -> Effect {
        Effect::Draw
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
