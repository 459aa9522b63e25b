//! Flags of the sampler: one for each parameter that a stage declares. Only the environment variables are told here,
//! since nothing below the program knows of them.

use engine::sampler::{Kind, PARAMS};

use super::Flag;

/// Variables that llama.cpp reads for sampling parameters, by the parameter's field.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("temperature", "LLAMA_ARG_TEMPERATURE"),
    ("top_k", "LLAMA_ARG_TOP_K"),
    ("top_p", "LLAMA_ARG_TOP_P"),
    ("min_p", "LLAMA_ARG_MIN_P"),
    ("repeat_penalty", "LLAMA_ARG_REPEAT_PENALTY"),
    ("presence_penalty", "LLAMA_ARG_PRESENCE_PENALTY"),
    ("frequency_penalty", "LLAMA_ARG_FREQUENCY_PENALTY"),
];

pub fn flags() -> impl Iterator<Item = Flag> {
    PARAMS.iter().filter(|spec| !spec.flags.is_empty()).map(|spec| {
        let value = match spec.kind {
            Kind::Switch => "",
            Kind::Int { .. } | Kind::Float { .. } => "N",
            Kind::Stages { .. } => "NAME;…",
            Kind::StageLetters => "LETTERS",
            Kind::Texts { .. } => "TEXT",
            Kind::Biases => "TOKEN±BIAS",
        };
        let env = ENVIRONMENT.iter().find(|(field, _)| *field == spec.field).map_or("", |(_, env)| env);
        Flag::sampler(spec, value, env)
    })
}
