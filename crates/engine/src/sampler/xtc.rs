//! XTC.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec =
    StageSpec { name: "xtc", letter: Some('x'), aliases: &[], params: &[&XTC_PROBABILITY, &XTC_THRESHOLD] };

const XTC_PROBABILITY: ParamSpec = ParamSpec {
    field: "xtc_probability",
    flags: &["--xtc-probability"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.0 },
    help: "XTC: chance of removing the most likely tokens (0.0 = disabled)",
    group: "sampling",
};

const XTC_THRESHOLD: ParamSpec = ParamSpec {
    field: "xtc_threshold",
    flags: &["--xtc-threshold"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.1 },
    help: "XTC: of the tokens at least this likely only the last stays (above 0.5 = disabled)",
    group: "sampling",
};
