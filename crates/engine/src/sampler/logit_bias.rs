//! Logit bias: adds to the logits of single tokens, before everything else.

use super::{Kind, ParamSpec, StageSpec};

/// Registry row.
pub const STAGE: StageSpec =
    StageSpec { name: "logit_bias", letter: None, aliases: &[], params: &[&LOGIT_BIAS, &IGNORE_EOS] };

const LOGIT_BIAS: ParamSpec = ParamSpec {
    field: "logit_bias",
    flags: &["-l", "--logit-bias"],
    kind: Kind::Biases,
    help: "change the likelihood of a token: TOKEN_ID+BIAS or TOKEN_ID-BIAS, e.g. 15043+1 or 15043-inf",
    group: "sampling",
};

const IGNORE_EOS: ParamSpec = ParamSpec {
    field: "ignore_eos",
    flags: &["--ignore-eos"],
    kind: Kind::Switch,
    help: "never stop at an end-of-generation token: they get a bias of -inf",
    group: "sampling",
};
