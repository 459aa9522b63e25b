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
        let floor = max - self.n * variance(candidates.logits(), max).sqrt() as f32;
        candidates.map(|logit| if logit < floor { f32::NEG_INFINITY } else { logit });
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

/// Variance of the logits above -infinity: one pass over their distances from the largest.
fn variance(logits: &[f32], max: f32) -> f64 {
    let mut sums = [[0.0; LANES]; 3];
    let (chunks, rest) = logits.as_chunks();
    for chunk in chunks {
        add(&mut sums, chunk, max);
    }
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    add(&mut sums, &last, max);
    let [count, sum, square] = sums.map(|lanes| lanes.iter().sum::<f64>());
    (square / count - (sum / count).powi(2)).max(0.0)
}

/// Independent sums, so that additions need not wait for one another.
const LANES: usize = 4;

#[inline(always)] // else the sums live in memory, which costs tenfold
fn add([counts, sums, squares]: &mut [[f64; LANES]; 3], logits: &[f32; LANES], max: f32) {
    for lane in 0..LANES {
        let counted = logits[lane] != f32::NEG_INFINITY;
        let below = if counted { f64::from(max) - f64::from(logits[lane]) } else { 0.0 };
        counts[lane] += if counted { 1.0 } else { 0.0 };
        sums[lane] += below;
        squares[lane] += below * below;
    }
}
