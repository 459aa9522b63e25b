//! The chain itself.

use super::{Kind, ParamSpec, StageSpec};

/// llama.cpp's order.
const DEFAULT_ORDER: &[&str] =
    &["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"];

/// Registry row.
pub const STAGE: StageSpec =
    StageSpec { name: "chain", letter: None, aliases: &[], params: &[&SAMPLERS, &SAMPLER_SEQ, &MIN_KEEP] };

/// Samplers in their order of application, separated by `;`.
pub const SAMPLERS: ParamSpec = ParamSpec {
    field: "samplers",
    flags: &["--samplers"],
    kind: Kind::Stages { default: DEFAULT_ORDER },
    help: "samplers in their order of application, separated by `;`",
    group: "sampling",
};

/// The same order as one letter per sampler, e.g. edskypmxt.
pub const SAMPLER_SEQ: ParamSpec = ParamSpec {
    field: "sampler_seq",
    flags: &["--sampler-seq", "--sampling-seq"],
    kind: Kind::StageLetters,
    help: "the same order as one letter per sampler, e.g. edskypmxt",
    group: "sampling",
};

/// Tokens that top-p, min-p, typical and XTC keep at least.
pub const MIN_KEEP: ParamSpec = ParamSpec {
    field: "min_keep",
    flags: &[],
    kind: Kind::Int { min: 0, max: i32::MAX as i64, default: 0 },
    help: "tokens that top-p, min-p, typical and XTC keep at least",
    group: "sampling",
};
