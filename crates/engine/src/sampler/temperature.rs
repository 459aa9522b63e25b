//! Temperature: divides the logits; 0 or less keeps the best candidate alone (greedy).
//!
//! Dynamic temperature lets it follow the entropy: between temperature − range for a certain and temperature + range
//! for a uniform distribution, along normalised entropy ^ exponent.

use super::stage::{Effect, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "temperature",
    letter: Some('t'),
    aliases: &["temp"],
    params: &[&TEMPERATURE, &DYNATEMP_RANGE, &DYNATEMP_EXPONENT],
    build: |setup| {
        let temperature = setup.params.float(&TEMPERATURE).max(0.0);
        let range = setup.params.float(&DYNATEMP_RANGE);
        let exponent = setup.params.float(&DYNATEMP_EXPONENT);
        Ok((temperature != 1.0 || range > 0.0).then(|| Box::new(Temperature { temperature, range, exponent }) as _))
    },
};

const TEMPERATURE: ParamSpec = ParamSpec {
    field: "temperature",
    flags: &["--temp", "--temperature"],
    kind: Kind::Float { min: f32::MIN, max: f32::MAX, default: 0.8 },
    help: "temperature (0 or less = greedy)",
    group: "sampling",
};

const DYNATEMP_RANGE: ParamSpec = ParamSpec {
    field: "dynatemp_range",
    flags: &["--dynatemp-range"],
    kind: Kind::Float { min: 0.0, max: f32::MAX, default: 0.0 },
    help: "the temperature follows the entropy within temperature +- range (0.0 = disabled)",
    group: "sampling",
};

const DYNATEMP_EXPONENT: ParamSpec = ParamSpec {
    field: "dynatemp_exponent",
    flags: &["--dynatemp-exp"],
    kind: Kind::Float { min: 0.0, max: f32::MAX, default: 1.0 },
    help: "how the entropy maps to the dynamic temperature",
    group: "sampling",
};

/// The temperature that goes with Mirostat: never dynamic.
pub(super) const PLAIN: StageSpec = StageSpec {
    build: |setup| {
        let temperature = setup.params.float(&TEMPERATURE).max(0.0);
        Ok((temperature != 1.0).then(|| Box::new(Temperature { temperature, range: 0.0, exponent: 1.0 }) as _))
    },
    ..STAGE
};

#[derive(Debug, Clone)]
struct Temperature {
    temperature: f32,
    range: f32,
    exponent: f32,
}

impl Stage for Temperature {
    fn apply(&mut self, candidates: &mut Candidates, _step: &Step) {
        let mut temperature = self.temperature;
        if self.range > 0.0 {
            if candidates.len() <= 1 || !candidates.weigh() {
                return;
            }
            let most = (candidates.len() as f64).ln();
            let low = (self.temperature - self.range).max(0.0);
            let high = self.temperature + self.range;
            temperature = low + (high - low) * ((candidates.entropy() / most) as f32).powf(self.exponent);
        }
        if temperature <= 0.0 {
            candidates.keep_best();
        } else {
            candidates.map(|logit| logit / temperature);
        }
    }

    fn effect(&self) -> Effect {
        if self.range > 0.0 { Effect::Other } else { Effect::Temperature(self.temperature) }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
