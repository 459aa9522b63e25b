//! `POST /completion`: prompts in, continuations out, in llama-server's form.

use std::sync::Arc;

use axum::response::Response;
use engine::sequence::FinishReason;
use serde_json::{Map, Value, json};
use text::Detokenize;

use crate::app::App;
use crate::convert::limited_text::TEXT_LIMIT;
use crate::convert::options::Options;
use crate::convert::prompt;
use crate::convert::request::Job;
use crate::convert::settings::settings;
use crate::error::{ApiError, Form};
use crate::fields::{Fields, object};
use crate::generate::{Answer, Ask, Part, Wire, blocking, respond};
use crate::openai::chat::add_progress;
use crate::routes::Call;
use crate::{scores, timings::timings};

/// Continues prompts.
pub async fn complete(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let (ask, requests) = blocking(&app, move |app| {
        let map = object(&call.body)?;
        let fields = Fields::new(&map);
        let options = options(app, fields)?;
        let Some(given) = fields.value("prompt") else { return Err(ApiError::field("prompt", "is required")) };
        let job = Job { prompts: prompt::all(app, "prompt", given)?, options }.check(app)?;
        let requests = job.requests(app)?;
        Ok((Ask::new(app, job), requests))
    })
    .await?;
    respond(ask, requests, Completion).await
}

/// All options; `logprobs` is another name of `n_probs` here.
pub fn options(app: &App, fields: Fields<'_>) -> Result<Options, ApiError> {
    let mut options = Options::read(app, fields)?;
    if fields.value("n_probs").is_none()
        && let Some(top) = fields.number("logprobs", 0, app.config.limits.top_scores.into())?.filter(|&top| top > 0)
    {
        let after_sampling = fields.switch("post_sampling_probs")?.unwrap_or(false);
        options.scores = Some(engine::request::Scores { top: top as u32, after_sampling });
    }
    Ok(options)
}

/// The wire form.
pub struct Completion;

impl Wire for Completion {
    const FORM: Form = Form::Llama;
    const DONE: bool = false;

    fn part(&mut self, ask: &Ask, answer: &Answer, part: Part) -> Vec<Value> {
        let mut chunk = json!({
            "index": answer.index,
            "content": part.text,
            "tokens": part.tokens,
            "stop": false,
            "id_slot": -1,
            "tokens_predicted": answer.tokens.len(),
            "tokens_evaluated": ask.job.prompts.get(answer.prompt).map_or(0, Vec::len),
        });
        if ask.options().timings_per_token || part.progress {
            chunk["timings"] = timings(ask, answer);
        }
        if let (Some(wanted), false) = (ask.options().scores, part.scores.is_empty()) {
            let list = scores::list(&ask.app.model.tokenizer, &part.scores, wanted.after_sampling);
            chunk["completion_probabilities"] = list;
        }
        let mut chunks = vec![chunk];
        if part.progress && part.tokens.is_empty() {
            add_progress(ask, answer, &mut chunks);
        }
        chunks
    }

    fn ended(&mut self, ask: &Ask, answer: &Answer) -> Vec<Value> {
        vec![last(ask, answer)]
    }

    fn whole(&mut self, ask: &Ask, answers: &[Answer]) -> Value {
        match answers {
            [answer] => last(ask, answer),
            several => Value::Array(several.iter().map(|answer| last(ask, answer)).collect()),
        }
    }
}

/// The object that ends an answer; in a stream its text and tokens have gone before.
fn last(ask: &Ask, answer: &Answer) -> Value {
    let options = ask.options();
    let tokenizer = &ask.app.model.tokenizer;
    let prompt = ask.job.prompts.get(answer.prompt).map_or(&[][..], Vec::as_slice);
    let how = Detokenize { remove_special: false, unparse_special: true };
    let prompt_text = tokenizer.detokenize(prompt, how).unwrap_or_default();
    let (stop_type, stopping_word) = stop(options, answer);
    let truncated = answer.end.is_some_and(|end| end.reason == FinishReason::ContextFull);
    let tokens: &[u32] = if options.return_tokens && !options.stream { &answer.tokens } else { &[] };
    let mut object = json!({
        "index": answer.index,
        "content": if options.stream { "" } else { &answer.text },
        "tokens": tokens,
        "id_slot": -1,
        "stop": true,
        "model": ask.app.model.name(),
        "tokens_predicted": answer.tokens.len(),
        "tokens_evaluated": prompt.len(),
        "generation_settings": settings(options, false),
        "prompt": String::from_utf8_lossy(&prompt_text),
        "has_new_line": answer.text.contains('\n'),
        "truncated": truncated,
        "stop_type": stop_type,
        "stopping_word": stopping_word,
        // The last token is not computed, as nothing follows it.
        "tokens_cached": prompt.len() + answer.tokens.len().saturating_sub(1),
        "timings": timings(ask, answer),
    });
    if let (Some(wanted), false) = (options.scores, options.stream) {
        let kept = scores::kept(tokenizer, options, answer);
        object["completion_probabilities"] = scores::list(tokenizer, kept, wanted.after_sampling);
    }
    match options.response_fields.is_empty() {
        true => object,
        false => selected(&options.response_fields, &object),
    }
}

/// llama-server's word for the end of an answer, and the stop string that was found.
fn stop<'a>(options: &'a Options, answer: &Answer) -> (&'static str, &'a str) {
    match answer.end.map(|end| end.reason) {
        Some(FinishReason::Eos) => ("eos", ""),
        Some(FinishReason::Stop(TEXT_LIMIT)) => ("limit", ""),
        Some(FinishReason::Stop(index)) => ("word", options.stop.get(index as usize).map_or("", String::as_str)),
        Some(FinishReason::Length | FinishReason::ContextFull) => ("limit", ""),
        _ => ("none", ""),
    }
}

/// The members that were asked for; `a/b` is the member b of a, under the name that was given.
fn selected(names: &[String], object: &Value) -> Value {
    let mut found = Map::new();
    for name in names {
        let value = name.split('/').try_fold(object, |value, step| value.get(step));
        if let Some(value) = value {
            found.insert(name.clone(), value.clone());
        }
    }
    Value::Object(found)
}
