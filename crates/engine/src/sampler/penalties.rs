//! Repetition, frequency and presence penalties.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec {
    name: "penalties",
    letter: Some('e'),
    aliases: &[],
    params: &[&REPEAT_LAST_N, &REPEAT_PENALTY, &PRESENCE_PENALTY, &FREQUENCY_PENALTY],
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
