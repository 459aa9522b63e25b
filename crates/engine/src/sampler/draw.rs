//! The draw.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec = StageSpec { name: "draw", letter: None, aliases: &[], params: &[&SEED] };

const SEED: ParamSpec = ParamSpec {
    field: "seed",
    flags: &["-s", "--seed"],
    kind: Kind::Int { min: -1, max: u32::MAX as i64, default: -1 },
    help: "seed of the random draws (-1 or 4294967295 = a random seed)",
    group: "sampling",
};
