//! Min-p.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec { name: "min_p", letter: Some('m'), aliases: &[], params: &[&MIN_P] };

const MIN_P: ParamSpec = ParamSpec {
    field: "min_p",
    flags: &["--min-p"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 0.05 },
    help: "keep tokens at least this likely relative to the most likely one (0.0 = disabled)",
    group: "sampling",
};
