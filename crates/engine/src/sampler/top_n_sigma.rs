//! Top-n-sigma.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec =
    StageSpec { name: "top_n_sigma", letter: Some('s'), aliases: &[], params: &[&TOP_N_SIGMA] };

const TOP_N_SIGMA: ParamSpec = ParamSpec {
    field: "top_n_sigma",
    flags: &["--top-nsigma", "--top-n-sigma"],
    kind: Kind::Float { min: f32::MIN, max: f32::MAX, default: -1.0 },
    help: "keep tokens within n standard deviations of the best logit (0 or less = disabled)",
    group: "sampling",
};
