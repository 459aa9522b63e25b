//! Min-p: keeps the candidates at least p times as likely as the best one (Nguyen et al. 2024, arXiv 2407.01082).

use super::stage::{Effect, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "min_p",
    letter: Some('m'),
    aliases: &[],
    params: &[&MIN_P],
    build: |setup| {
        let p = setup.params.float(&MIN_P);
        Ok((p > 0.0).then(|| Box::new(MinP { log_p: p.ln(), min_keep: setup.min_keep }) as _))
    },
};

const MIN_P: ParamSpec = ParamSpec {
    field: "min_p",
    flags: &["--min-p"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.05 },
    help: "keep tokens at least this likely relative to the most likely one (0.0 = disabled)",
    group: "sampling",
};

#[derive(Debug, Clone)]
struct MinP {
    log_p: f32,
    min_keep: usize,
}

impl Stage for MinP {
    fn apply(&mut self, candidates: &mut Candidates, _step: &Step) {
        let floor = candidates.max_logit() + self.log_p; // p ≥ p_max·min_p, without computing any p
        let enough = candidates.logits().iter().filter(|&&logit| logit >= floor).count() >= self.min_keep;
        if enough {
            candidates.retain(|entry| entry.logit >= floor);
        } else {
            candidates.keep_top(self.min_keep);
        }
    }

    fn effect(&self) -> Effect {
        Effect::MinP { log_p: self.log_p, min_keep: self.min_keep }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
