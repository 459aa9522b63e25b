//! Top-p, nucleus sampling: keeps the best candidates until their probabilities add up to p (Holtzman et al. 2019,
//! arXiv 1904.09751). Probabilities are those among the candidates that earlier stages left.

use super::stage::{Effect, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "top_p",
    letter: Some('p'),
    aliases: &["nucleus"],
    params: &[&TOP_P],
    build: |setup| {
        let p = setup.params.float(&TOP_P);
        Ok((p < 1.0).then(|| Box::new(TopP { p: p.into(), min_keep: setup.min_keep }) as _))
    },
};

const TOP_P: ParamSpec = ParamSpec {
    field: "top_p",
    flags: &["--top-p"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.95 },
    help: "keep the most likely tokens up to this probability (1.0 = disabled)",
    group: "sampling",
};

#[derive(Debug, Clone)]
struct TopP {
    p: f64,
    min_keep: usize,
}

impl Stage for TopP {
    fn apply(&mut self, candidates: &mut Candidates, _step: &Step) {
        if candidates.weigh() {
            candidates.keep_likeliest(|count, sum| sum >= self.p && count >= self.min_keep);
        }
    }

    fn effect(&self) -> Effect {
        Effect::TopP { p: self.p, min_keep: self.min_keep }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
