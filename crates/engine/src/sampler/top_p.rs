//! Top-p.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec { name: "top_p", letter: Some('p'), aliases: &["nucleus"], params: &[&TOP_P] };

const TOP_P: ParamSpec = ParamSpec {
    field: "top_p",
    flags: &["--top-p"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.95 },
    help: "keep the most likely tokens up to this probability (1.0 = disabled)",
    group: "sampling",
};
