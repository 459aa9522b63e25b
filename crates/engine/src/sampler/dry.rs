//! DRY.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec {
    name: "dry",
    letter: Some('d'),
    aliases: &[],
    params: &[&MULTIPLIER, &BASE, &ALLOWED_LENGTH, &PENALTY_LAST_N, &SEQUENCE_BREAKERS],
};

const MULTIPLIER: ParamSpec = ParamSpec {
    field: "dry_multiplier",
    flags: &["--dry-multiplier"],
    kind: Kind::Float { min: f32::MIN, max: f32::MAX, default: 0.0 },
    help: "DRY: penalty of a token that continues a repetition, multiplier * base ^ (length - allowed length) (0.0 = disabled)",
    group: "DRY",
};

const BASE: ParamSpec = ParamSpec {
    field: "dry_base",
    flags: &["--dry-base"],
    kind: Kind::Float { min: 1.0, max: f32::MAX, default: 1.75 },
    help: "DRY: base of the penalty",
    group: "DRY",
};

const ALLOWED_LENGTH: ParamSpec = ParamSpec {
    field: "dry_allowed_length",
    flags: &["--dry-allowed-length"],
    kind: Kind::Int { min: 0, max: i32::MAX as i64, default: 2 },
    help: "DRY: repetitions up to this length go free",
    group: "DRY",
};

const PENALTY_LAST_N: ParamSpec = ParamSpec {
    field: "dry_penalty_last_n",
    flags: &["--dry-penalty-last-n"],
    kind: Kind::Int { min: 0, max: i32::MAX as i64, default: 64 },
    help: "DRY: last n tokens to search for repetitions (0 = disabled)",
    group: "DRY",
};

const SEQUENCE_BREAKERS: ParamSpec = ParamSpec {
    field: "dry_sequence_breakers",
    flags: &["--dry-sequence-breaker"],
    kind: Kind::Texts { default: &["\n", ":", "\"", "*"] },
    help: "DRY: text that ends a repetition; may be repeated, replaces the defaults, `none` for no breakers",
    group: "DRY",
};
