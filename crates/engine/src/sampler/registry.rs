//! The list of stages: a new stage is its own file and one line here. Flags, HTTP fields, `--samplers` names and
//! `--sampler-seq` letters all follow from the rows.

use super::{
    ParamSpec, StageSpec, adaptive_p, chain, draw, dry, logit_bias, min_p, mirostat, penalties, temperature, top_k,
    top_n_sigma, top_p, typical, xtc,
};

/// Every stage, in llama.cpp's order of application.
pub const STAGES: &[&StageSpec] = &[
    &chain::STAGE,
    &logit_bias::STAGE,
    &penalties::STAGE,
    &dry::STAGE,
    &top_n_sigma::STAGE,
    &top_k::STAGE,
    &typical::STAGE,
    &top_p::STAGE,
    &min_p::STAGE,
    &xtc::STAGE,
    &temperature::STAGE,
    &adaptive_p::STAGE,
    &mirostat::STAGE,
    &draw::STAGE,
];

/// Every parameter of every stage.
pub const PARAMS: &[&ParamSpec] = &flatten::<{ num_params() }>();

/// The stage that `--samplers` means: canonical name, the same with `-` or nothing for `_`, or an alias; any case.
pub(super) fn stage_by_name(name: &str) -> Option<&'static StageSpec> {
    let plain = |text: &str| text.to_ascii_lowercase();
    let name = plain(name.trim());
    orderable().find(|stage| {
        name == stage.name
            || name == stage.name.replace('_', "-")
            || name == stage.name.replace('_', "")
            || stage.aliases.contains(&name.as_str())
    })
}

/// The stage that a letter of `--sampler-seq` means.
pub(super) fn stage_by_letter(letter: char) -> Option<&'static StageSpec> {
    orderable().find(|stage| stage.letter == Some(letter))
}

/// Names and letters for an error message: `penalties (e), dry (d), …`.
pub(super) fn known_stages() -> String {
    orderable()
        .filter_map(|stage| stage.letter.map(|letter| format!("{} ({letter})", stage.name)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn orderable() -> impl Iterator<Item = &'static StageSpec> {
    STAGES.iter().copied().filter(|stage| stage.letter.is_some())
}

const fn num_params() -> usize {
    let (mut count, mut stage) = (0, 0);
    while stage < STAGES.len() {
        count += STAGES[stage].params.len();
        stage += 1;
    }
    count
}

const fn flatten<const N: usize>() -> [&'static ParamSpec; N] {
    let mut all = [&chain::SAMPLERS; N];
    let (mut count, mut stage) = (0, 0);
    while stage < STAGES.len() {
        let mut param = 0;
        while param < STAGES[stage].params.len() {
            all[count] = STAGES[stage].params[param];
            count += 1;
            param += 1;
        }
        stage += 1;
    }
    all
}
