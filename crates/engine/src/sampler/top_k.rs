//! Top-k: keeps the k best candidates (Fan, Lewis, Dauphin 2018, arXiv 1805.04833).
//! `min_keep` does not apply to it, as in llama.cpp.

use super::stage::{Effect, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "top_k",
    letter: Some('k'),
    aliases: &[],
    params: &[&TOP_K],
    build: |setup| {
        let k = usize::try_from(setup.params.int(&TOP_K)).unwrap_or(0);
        Ok((k > 0).then(|| Box::new(TopK { k }) as _))
    },
};

const TOP_K: ParamSpec = ParamSpec {
    field: "top_k",
    flags: &["--top-k"],
    kind: Kind::Int { min: i32::MIN as i64, max: i32::MAX as i64, default: 40 },
    help: "keep the k most likely tokens (0 or less = disabled)",
    group: "sampling",
};

#[derive(Debug, Clone)]
struct TopK {
    k: usize,
}

impl Stage for TopK {
    fn apply(&mut self, candidates: &mut Candidates, _step: &Step) {
        candidates.keep_top(self.k);
    }

    fn effect(&self) -> Effect {
        Effect::TopK(self.k)
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
