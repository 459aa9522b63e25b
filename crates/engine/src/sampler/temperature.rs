//! Temperature.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec {
    name: "temperature",
    letter: Some('t'),
    aliases: &["temp"],
    params: &[&TEMPERATURE, &DYNATEMP_RANGE, &DYNATEMP_EXPONENT],
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
