//! Penalties on tokens among the last n: the logit is divided by the repeat penalty (multiplied where it is negative,
//! so that it always falls; Keskar et al. 2019, arXiv 1909.05858), then lowered by the presence penalty and, for every
//! time the token was seen, by the frequency penalty.

use super::stage::{Editable, Effect, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "penalties",
    letter: Some('e'),
    aliases: &[],
    params: &[&REPEAT_LAST_N, &REPEAT_PENALTY, &PRESENCE_PENALTY, &FREQUENCY_PENALTY],
    build: |setup| {
        let float = |spec| setup.params.float(spec);
        let last_n = setup.params.int(&REPEAT_LAST_N) as usize;
        let (repeat, frequency, presence) =
            (float(&REPEAT_PENALTY), float(&FREQUENCY_PENALTY), float(&PRESENCE_PENALTY));
        let on = last_n > 0 && (repeat != 1.0 || frequency != 0.0 || presence != 0.0);
        Ok(on.then(|| Box::new(Penalties { last_n, repeat, frequency, presence, seen: Vec::new() }) as _))
    },
};

const REPEAT_LAST_N: ParamSpec = ParamSpec {
    field: "repeat_last_n",
    flags: &["--repeat-last-n"],
    kind: Kind::Int { min: 0, max: i32::MAX as i64, default: 64 },
    help: "last n tokens to penalise (0 = disabled)",
    group: "penalties",
};

const REPEAT_PENALTY: ParamSpec = ParamSpec {
    field: "repeat_penalty",
    flags: &["--repeat-penalty"],
    kind: Kind::Float { min: f32::MIN_POSITIVE, max: f32::MAX, default: 1.0 },
    help: "divides the logit of tokens seen before (1.0 = disabled)",
    group: "penalties",
};

const PRESENCE_PENALTY: ParamSpec = ParamSpec {
    field: "presence_penalty",
    flags: &["--presence-penalty"],
    kind: Kind::Float { min: f32::MIN, max: f32::MAX, default: 0.0 },
    help: "subtracted once from the logit of tokens seen before (0.0 = disabled)",
    group: "penalties",
};

const FREQUENCY_PENALTY: ParamSpec = ParamSpec {
    field: "frequency_penalty",
    flags: &["--frequency-penalty"],
    kind: Kind::Float { min: f32::MIN, max: f32::MAX, default: 0.0 },
    help: "subtracted from the logit as often as the token was seen (0.0 = disabled)",
    group: "penalties",
};

#[derive(Debug, Clone)]
struct Penalties {
    last_n: usize,
    repeat: f32,
    frequency: f32,
    presence: f32,
    seen: Vec<u32>, // scratch: the window, sorted
}

impl Stage for Penalties {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step) {
        self.edit(candidates, step);
    }

    fn effect(&self) -> Effect {
        Effect::Edit
    }

    fn edit(&mut self, logits: &mut dyn Editable, step: &Step) {
        self.seen.clear();
        self.seen.extend_from_slice(step.last(self.last_n));
        self.seen.sort_unstable();
        for same in self.seen.chunk_by(|a, b| a == b) {
            logits.change(same[0], &|logit| {
                let repeated = if logit <= 0.0 { logit * self.repeat } else { logit / self.repeat };
                repeated - (same.len() as f32 * self.frequency + self.presence)
            });
        }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
