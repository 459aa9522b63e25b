//! Top-k.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec { name: "top_k", letter: Some('k'), aliases: &[], params: &[&TOP_K] };

const TOP_K: ParamSpec = ParamSpec {
    field: "top_k",
    flags: &["--top-k"],
    kind: Kind::Int { min: i32::MIN as i64, max: i32::MAX as i64, default: 40 },
    help: "keep the k most likely tokens (0 or less = disabled)",
    group: "sampling",
};
