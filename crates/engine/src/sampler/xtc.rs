//! XTC, "exclude top choices": with a given chance removes all candidates above a threshold but the least likely of
//! them, so that the obvious continuation gives way to the next best ones. Source: the method's description at
//! github.com/oobabooga/text-generation-webui/pull/6335.

use super::stage::{Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "xtc",
    letter: Some('x'),
    aliases: &[],
    params: &[&XTC_PROBABILITY, &XTC_THRESHOLD],
    build: |setup| {
        let (probability, threshold) = (setup.params.float(&XTC_PROBABILITY), setup.params.float(&XTC_THRESHOLD));
        let on = probability > 0.0 && threshold <= 0.5; // above 0.5 at most one token reaches it
        Ok(on.then(|| Box::new(Xtc { probability, threshold, min_keep: setup.min_keep }) as _))
    },
};

const XTC_PROBABILITY: ParamSpec = ParamSpec {
    field: "xtc_probability",
    flags: &["--xtc-probability"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.0 },
    help: "XTC: chance of removing the most likely tokens (0.0 = disabled)",
    group: "sampling",
};

const XTC_THRESHOLD: ParamSpec = ParamSpec {
    field: "xtc_threshold",
    flags: &["--xtc-threshold"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.1 },
    help: "XTC: of the tokens at least this likely only the last stays (above 0.5 = disabled)",
    group: "sampling",
};

/// Philox stream of the coin; `draw` has another.
const STREAM: u32 = 1;

#[derive(Debug, Clone)]
struct Xtc {
    probability: f32,
    threshold: f32,
    min_keep: usize,
}

impl Stage for Xtc {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step) {
        if candidates.len() < 2 || step.uniform(STREAM) > self.probability || !candidates.weigh() {
            return;
        }
        let len = candidates.len();
        let above = (0..len).filter(|&index| candidates.probability(index) >= self.threshold).count();
        if above < 2 || len - (above - 1) < self.min_keep {
            return;
        }
        if let Some(spared) = candidates.best(above).last() {
            let spared_logit = candidates.logits()[spared];
            // Of equally likely ones the last id is spared: best() ranks it last.
            candidates.retain(|entry| entry.logit < spared_logit || entry.index == spared);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
