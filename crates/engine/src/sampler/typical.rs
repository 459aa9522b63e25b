//! Locally typical.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec { name: "typ_p", letter: Some('y'), aliases: &["typ"], params: &[&TYPICAL_P] };

const TYPICAL_P: ParamSpec = ParamSpec {
    field: "typical_p",
    flags: &["--typical", "--typical-p"],
    kind: Kind::Float { min: 0.0, max: 1.0, default: 1.0 },
    help: "keep the most typical tokens up to this probability (1.0 = disabled)",
    group: "sampling",
};
