//! Locally typical sampling: keeps the candidates whose surprise −ln p lies closest to the entropy, until their
//! probabilities add up to more than p (Meister et al. 2022, arXiv 2202.00666).

use super::stage::{Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "typ_p",
    letter: Some('y'),
    aliases: &["typ"],
    params: &[&TYPICAL_P],
    build: |setup| {
        let p = setup.params.float(&TYPICAL_P);
        Ok((p < 1.0).then(|| Box::new(Typical { p: p.into(), min_keep: setup.min_keep }) as _))
    },
};

const TYPICAL_P: ParamSpec = ParamSpec {
    field: "typical_p",
    flags: &["--typical", "--typical-p"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 1.0 },
    help: "keep the most typical tokens up to this probability (1.0 = disabled)",
    group: "sampling",
};

#[derive(Debug, Clone)]
struct Typical {
    p: f64,
    min_keep: usize,
}

impl Stage for Typical {
    fn apply(&mut self, candidates: &mut Candidates, _step: &Step) {
        if candidates.weigh() {
            let entropy = candidates.entropy();
            candidates.keep_closest(entropy, |count, sum| sum > self.p && count >= self.min_keep);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
