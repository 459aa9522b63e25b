//! Options as JSON again: llama-server's `generation_settings`, and the defaults that `/props` and `/slots` show.

use engine::sampler::{Kind, PARAMS, ParamValue};
use serde_json::{Map, Value, json};
use text::grammar::Constraint;

use super::options::Options;

/// What llama-server shows in `generation_settings`; `brief` leaves lists and texts out, as in `/props`.
pub fn settings(options: &Options, brief: bool) -> Value {
    let mut members = Map::new();
    for spec in PARAMS {
        let hidden = matches!(spec.kind, Kind::StageLetters | Kind::Switch);
        let listed = matches!(spec.kind, Kind::Texts { .. } | Kind::Biases);
        if !(hidden || (brief && listed)) {
            members.insert(spec.field.into(), shown(spec.field, &options.sampling.value(spec)));
        }
        if matches!(spec.kind, Kind::Switch) {
            members.insert(spec.field.into(), (options.sampling.value(spec) == ParamValue::Bool(true)).into());
        }
    }
    let most = options.max_tokens.map_or(-1, i64::from);
    members.insert("max_tokens".into(), most.into());
    members.insert("n_predict".into(), most.into());
    members.insert("n_keep".into(), options.keep.map_or(-1, i64::from).into());
    members.insert("n_discard".into(), 0.into());
    members.insert("stream".into(), options.stream.into());
    members.insert("n_probs".into(), options.scores.map_or(0, |scores| scores.top).into());
    members.insert("timings_per_token".into(), options.timings_per_token.into());
    let after_sampling = options.scores.is_some_and(|scores| scores.after_sampling);
    members.insert("post_sampling_probs".into(), after_sampling.into());
    if !brief {
        members.insert("stop".into(), json!(options.stop));
        let grammar = options.constraint.as_ref().and_then(|asked| match &asked.constraint {
            Constraint::Grammar(grammar) => Some(grammar.as_str()),
            Constraint::Schema(_) | Constraint::Regex(_) => None,
        });
        members.insert("grammar".into(), grammar.unwrap_or_default().into());
        members.insert("grammar_lazy".into(), false.into());
        members.insert("grammar_triggers".into(), json!([]));
        members.insert("preserved_tokens".into(), json!([]));
    }
    // What llama-server has beside and there is nothing of here.
    for (name, value) in [
        ("chat_format", json!("Content-only")),
        ("reasoning_format", json!("none")),
        ("reasoning_in_content", json!(false)),
        ("generation_prompt", json!("")),
        ("speculative.types", json!("none")),
        ("backend_sampling", json!(false)),
        ("lora", json!([])),
    ] {
        members.insert(name.into(), value);
    }
    Value::Object(members)
}

fn shown(field: &str, value: &ParamValue) -> Value {
    match value {
        // llama-server writes "random" as the largest number.
        ParamValue::Int(-1) if field == "seed" => u32::MAX.into(),
        ParamValue::Int(number) => (*number).into(),
        ParamValue::Float(number) => json!(*number as f32),
        ParamValue::Bool(on) => (*on).into(),
        ParamValue::Text(text) => text.as_str().into(),
        ParamValue::Texts(texts) => json!(texts),
        ParamValue::Biases(biases) => {
            let shown = biases.iter().map(|(token, bias)| match bias.is_finite() {
                true => json!({"bias": bias, "token": token}),
                false => json!({"bias": null, "token": token}),
            });
            Value::Array(shown.collect())
        }
    }
}
