//! Top-n-sigma: excludes the candidates whose logit lies more than n standard deviations below the best one
//! (Tang et al. 2024, arXiv 2411.07641). They stay in the list at -infinity, as in llama.cpp.

use super::stage::{Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "top_n_sigma",
    letter: Some('s'),
    aliases: &[],
    params: &[&TOP_N_SIGMA],
    build: |setup| {
        let n = setup.params.float(&TOP_N_SIGMA);
        Ok((n > 0.0).then(|| Box::new(TopNSigma { n }) as _))
    },
};

const TOP_N_SIGMA: ParamSpec = ParamSpec {
    field: "top_n_sigma",
    flags: &["--top-nsigma", "--top-n-sigma"],
    kind: Kind::Float { min: f32::MIN, max: f32::MAX, default: -1.0 },
    help: "keep tokens within n standard deviations of the best logit (0 or less = disabled)",
    group: "sampling",
};

#[derive(Debug, Clone)]
struct TopNSigma {
    n: f32,
}

impl Stage for TopNSigma {
    fn apply(&mut self, candidates: &mut Candidates, _step: &Step) {
        let max = candidates.max_logit();
        if candidates.len() <= 1 || max == f32::NEG_INFINITY {
            return;
        }
        let finite = |&logit: &f32| logit != f32::NEG_INFINITY;
        let count = candidates.logits().iter().copied().filter(finite).count() as f64;
        let mean = sum(candidates.logits(), f64::from) / count;
        let variance = sum(candidates.logits(), |logit| (f64::from(logit) - mean).powi(2)) / count;
        let floor = max - self.n * variance.sqrt() as f32;
        candidates.map(|logit, _| if logit < floor { f32::NEG_INFINITY } else { logit });
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

/// Sum over the logits above -infinity, in lanes so that the additions need not wait for one another.
fn sum(logits: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    for chunk in logits.chunks(lanes.len()) {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += if logit == f32::NEG_INFINITY { 0.0 } else { term(logit) };
        }
    }
    lanes.iter().sum()
}
