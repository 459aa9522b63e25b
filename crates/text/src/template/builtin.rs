//! The templates that come with Chaski, under llama.cpp's names (`--chat-template NAME`), for the model families we run.
//! They write the same text as llama.cpp's own built-in forms: no begin marker in front, since the tokenizer adds it.

/// The known names.
pub const BUILTIN_NAMES: [&str; 20] = {
    let mut names = [""; BUILTIN.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = BUILTIN[i].0;
        i += 1;
    }
    names
};

/// The Jinja source behind a name.
pub(super) fn source(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|row| row.0 == name).map(|row| row.1)
}

/// Messages of the form BEFORE role BETWEEN content AFTER, all roles alike; the last argument opens the answer.
macro_rules! uniform {
    ($before:literal, $between:literal, $content:literal, $after:literal, $opening:literal) => {
        concat!(
            "{% for m in messages %}{{ '",
            $before,
            "' ~ m.role ~ '",
            $between,
            "' ~ ",
            $content,
            " ~ '",
            $after,
            "' }}{% endfor %}{% if add_generation_prompt %}{{ '",
            $opening,
            "' }}{% endif %}"
        )
    };
}

/// Llama 2: a turn is `[INST] system user [/INST]answer</s>`. Arguments: the system part, the content, what opens a later turn.
macro_rules! llama2 {
    ($system:literal, $content:literal, $reopen:literal) => {
        concat!(
            "{% set t = namespace(open=true) %}{{ '[INST] ' }}{% for m in messages %}",
            "{% if not t.open %}{{ '",
            $reopen,
            "' }}{% set t.open = true %}{% endif %}",
            "{% set content = ",
            $content,
            " %}",
            "{% if m.role == 'system' %}{{ ",
            $system,
            " }}",
            "{% elif m.role == 'user' %}{{ content ~ ' [/INST]' }}",
            "{% else %}{{ content ~ '</s>' }}{% set t.open = false %}{% endif %}{% endfor %}"
        )
    };
}

/// Mistral before v7: the system text leads its turn. Arguments: the space before and the space after a marker, the answer.
macro_rules! mistral {
    ($leading:literal, $trailing:literal, $answer:literal) => {
        concat!(
            "{% set t = namespace(open=false) %}{% for m in messages %}",
            "{% if not t.open %}{{ '",
            $leading,
            "[INST]",
            $trailing,
            "' }}{% set t.open = true %}{% endif %}",
            "{% if m.role == 'system' %}{{ m.content ~ '\\n\\n' }}",
            "{% elif m.role == 'user' %}{{ m.content ~ '",
            $leading,
            "[/INST]' }}",
            "{% else %}{{ '",
            $trailing,
            "' ~ ",
            $answer,
            " ~ '</s>' }}{% set t.open = false %}{% endif %}{% endfor %}"
        )
    };
}

/// Mistral v7: the system text has markers of its own. Argument: the space after a marker.
macro_rules! mistral_v7 {
    ($space:literal) => {
        concat!(
            "{% for m in messages %}",
            "{% if m.role == 'system' %}{{ '[SYSTEM_PROMPT]",
            $space,
            "' ~ m.content ~ '[/SYSTEM_PROMPT]' }}",
            "{% elif m.role == 'user' %}{{ '[INST]",
            $space,
            "' ~ m.content ~ '[/INST]' }}",
            "{% else %}{{ '",
            $space,
            "' ~ m.content ~ '</s>' }}{% endif %}{% endfor %}"
        )
    };
}

/// Vicuna. Arguments: what stands before and after the system text.
macro_rules! vicuna {
    ($before:literal, $after:literal) => {
        concat!(
            "{% for m in messages %}",
            "{% if m.role == 'system' %}{{ '",
            $before,
            "' ~ m.content ~ '",
            $after,
            "' }}",
            "{% elif m.role == 'user' %}{{ 'USER: ' ~ m.content ~ '\\n' }}",
            "{% elif m.role == 'assistant' %}{{ 'ASSISTANT: ' ~ m.content ~ '</s>\\n' }}{% endif %}{% endfor %}",
            "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
        )
    };
}

const GEMMA: &str = "{% set t = namespace(system='') %}{% for m in messages %}\
    {% if m.role == 'system' %}{% set t.system = t.system ~ m.content|trim %}{% else %}\
    {{ '<start_of_turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\\n' }}\
    {% if t.system and m.role != 'assistant' %}{{ t.system ~ '\\n\\n' }}{% set t.system = '' %}{% endif %}\
    {{ m.content|trim ~ '<end_of_turn>\\n' }}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

const MONARCH: &str = "{% for m in messages %}{{ ('' if loop.first else '<s>') ~ m.role ~ '\\n' ~ m.content ~ '</s>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}";

const OPENCHAT: &str = "{% for m in messages %}{% if m.role != 'system' %}{{ 'GPT4 Correct ' ~ m.role|capitalize ~ ': ' }}\
    {% endif %}{{ m.content ~ '<|end_of_turn|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}";

const BUILTIN: [(&str, &str); 20] = [
    ("chatml", uniform!("<|im_start|>", "\\n", "m.content", "<|im_end|>\\n", "<|im_start|>assistant\\n")),
    ("falcon3", uniform!("<|", "|>\\n", "m.content", "\\n", "<|assistant|>\\n")),
    ("gemma", GEMMA),
    ("llama2", llama2!("content ~ '\\n'", "m.content", "[INST] ")),
    ("llama2-sys", llama2!("'<<SYS>>\\n' ~ content ~ '\\n<</SYS>>\\n\\n'", "m.content", "[INST] ")),
    ("llama2-sys-bos", llama2!("'<<SYS>>\\n' ~ content ~ '\\n<</SYS>>\\n\\n'", "m.content", "<s>[INST] ")),
    ("llama2-sys-strip", llama2!("'<<SYS>>\\n' ~ content ~ '\\n<</SYS>>\\n\\n'", "m.content|trim", "[INST] ")),
    (
        "llama3",
        uniform!(
            "<|start_header_id|>",
            "<|end_header_id|>\\n\\n",
            "m.content|trim",
            "<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\\n\\n"
        ),
    ),
    ("mistral-v1", mistral!(" ", " ", "m.content")),
    ("mistral-v3", mistral!("", " ", "m.content|trim")),
    ("mistral-v3-tekken", mistral!("", "", "m.content")),
    ("mistral-v7", mistral_v7!(" ")),
    ("mistral-v7-tekken", mistral_v7!("")),
    ("monarch", MONARCH),
    ("openchat", OPENCHAT),
    ("phi3", uniform!("<|", "|>\\n", "m.content", "<|end|>\\n", "<|assistant|>\\n")),
    ("phi4", uniform!("<|im_start|>", "<|im_sep|>", "m.content", "<|im_end|>", "<|im_start|>assistant<|im_sep|>")),
    ("vicuna", vicuna!("", "\\n\\n")),
    ("vicuna-orca", vicuna!("SYSTEM: ", "\\n")),
    ("zephyr", uniform!("<|", "|>\\n", "m.content", "<|endoftext|>\\n", "<|assistant|>\\n")),
];
