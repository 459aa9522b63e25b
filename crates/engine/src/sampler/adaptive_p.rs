//! Adaptive-p.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec =
    StageSpec { name: "adaptive_p", letter: Some('a'), aliases: &[], params: &[&TARGET, &DECAY] };

const TARGET: ParamSpec = ParamSpec {
    field: "adaptive_target",
    flags: &["--adaptive-target"],
    kind: Kind::Float { min: f32::MIN, max: 1.0, default: -1.0 },
    help: "adaptive-p: draw tokens near this probability (negative = disabled)",
    group: "adaptive-p",
};

const DECAY: ParamSpec = ParamSpec {
    field: "adaptive_decay",
    flags: &["--adaptive-decay"],
    kind: Kind::Float { min: 0.0, max: 0.99, default: 0.9 },
    help: "adaptive-p: decay of the average over past tokens",
    group: "adaptive-p",
};
