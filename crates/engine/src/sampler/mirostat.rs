//! Mirostat.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec =
    StageSpec { name: "mirostat", letter: None, aliases: &[], params: &[&MIROSTAT, &TAU, &ETA] };

const MIROSTAT: ParamSpec = ParamSpec {
    field: "mirostat",
    flags: &["--mirostat"],
    kind: Kind::Int { min: 0, max: 2, default: 0 },
    help: "Mirostat instead of all samplers but temperature (0 = disabled, 1 = Mirostat, 2 = Mirostat 2.0)",
    group: "Mirostat",
};

const TAU: ParamSpec = ParamSpec {
    field: "mirostat_tau",
    flags: &["--mirostat-ent"],
    kind: Kind::Float { min: 0.0, max: f32::MAX, default: 5.0 },
    help: "Mirostat: target entropy, tau",
    group: "Mirostat",
};

const ETA: ParamSpec = ParamSpec {
    field: "mirostat_eta",
    flags: &["--mirostat-lr"],
    kind: Kind::Float { min: 0.0, max: f32::MAX, default: 0.1 },
    help: "Mirostat: learning rate, eta",
    group: "Mirostat",
};
