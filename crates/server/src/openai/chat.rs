//! `POST /v1/chat/completions`: a conversation in, messages out.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use engine::request::Scores;
use serde_json::{Map, Value, json};

use super::{finish_reason, usage};
use crate::app::{App, BUILD};
use crate::convert::chat;
use crate::convert::options::Options;
use crate::convert::request::Job;
use crate::error::{ApiError, Form, json_response};
use crate::fields::{Fields, object};
use crate::generate::{Answer, Ask, Part, Wire, blocking, respond};
use crate::routes::Call;
use crate::{scores, timings::timings};

/// Answers a conversation.
pub async fn complete(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let (ask, requests, prefill) = blocking(&app, move |app| {
        let map = object(&call.body)?;
        let fields = Fields::new(&map);
        let mut options = Options::read(app, fields)?;
        if let Some(top) = top_logprobs(app, fields)? {
            options.scores =
                Some(Scores { top, after_sampling: options.scores.is_some_and(|scores| scores.after_sampling) });
        }
        let prompt = chat::render(app, fields)?;
        let job = Job { prompts: vec![chat::tokens(app, &prompt.text)], options }.check(app)?;
        let requests = job.requests(app)?;
        Ok((Ask::new(app, job), requests, prompt.prefill))
    })
    .await?;
    respond(ask, requests, Chat { prefill, greeted: Vec::new() }).await
}

/// `POST /v1/chat/completions/input_tokens`: how long the prompt of a conversation is.
pub async fn input_tokens(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let count = blocking(&app, move |app| {
        let map = object(&call.body)?;
        let prompt = chat::render(app, Fields::new(&map))?;
        Ok(chat::tokens(app, &prompt.text).len())
    })
    .await?;
    Ok(json_response(StatusCode::OK, &json!({"input_tokens": count, "object": "response.input_tokens"})))
}

/// `logprobs` switches them on, `top_logprobs` says how many; 20 as in llama-server when it does not.
fn top_logprobs(app: &App, fields: Fields<'_>) -> Result<Option<u32>, ApiError> {
    let top = fields.number("top_logprobs", 0, app.config.limits.top_scores.into())?;
    match (fields.switch("logprobs")?.unwrap_or(false), top) {
        (true, top) => Ok(Some(top.unwrap_or(20) as u32)),
        (false, Some(_)) => Err(ApiError::field("top_logprobs", "needs logprobs to be true")),
        (false, None) => Ok(None),
    }
}

/// The wire form.
struct Chat {
    /// What a whole answer begins with: the message that is gone on with.
    prefill: String,
    /// Answers whose opening chunk has been sent.
    greeted: Vec<usize>,
}

impl Chat {
    fn chunk(&self, ask: &Ask, choices: Value) -> Value {
        json!({
            "choices": choices,
            "created": ask.created,
            "id": ask.id,
            "model": ask.app.model.name(),
            "system_fingerprint": BUILD,
            "object": "chat.completion.chunk",
        })
    }

    /// The chunk that opens an answer, once.
    fn greeting(&mut self, ask: &Ask, answer: &Answer) -> Option<Value> {
        if self.greeted.contains(&answer.index) {
            return None;
        }
        self.greeted.push(answer.index);
        Some(self.chunk(ask, delta(answer, json!({"role": "assistant", "content": null}), Value::Null)))
    }
}

impl Wire for Chat {
    const FORM: Form = Form::OpenAi;
    const DONE: bool = true;

    fn part(&mut self, ask: &Ask, answer: &Answer, part: Part) -> Vec<Value> {
        let mut chunks: Vec<Value> = self.greeting(ask, answer).into_iter().collect();
        if !part.text.is_empty() || !part.scores.is_empty() {
            let mut choices = delta(answer, json!({"content": part.text}), Value::Null);
            if !part.scores.is_empty() {
                choices[0]["logprobs"] = logprobs(ask, &part.scores);
            }
            chunks.push(self.chunk(ask, choices));
        }
        if part.progress && ask.options().return_progress && answer.first_token.is_none() {
            chunks.push(self.chunk(ask, delta(answer, json!({}), Value::Null)));
            add_progress(ask, answer, &mut chunks);
        }
        if ask.options().timings_per_token
            && let Some(last) = chunks.last_mut()
        {
            last["timings"] = timings(ask, answer);
        }
        chunks
    }

    fn ended(&mut self, ask: &Ask, answer: &Answer) -> Vec<Value> {
        let mut chunks: Vec<Value> = self.greeting(ask, answer).into_iter().collect();
        chunks.push(self.chunk(ask, delta(answer, json!({}), finish_reason(answer).into())));
        if !ask.options().include_usage
            && let Some(last) = chunks.last_mut()
        {
            last["timings"] = timings(ask, answer);
        }
        chunks
    }

    fn all_ended(&mut self, ask: &Ask, answers: &[Answer]) -> Vec<Value> {
        if !ask.options().include_usage {
            return Vec::new();
        }
        let mut chunk = self.chunk(ask, json!([]));
        chunk["usage"] = usage(ask, answers);
        if let Some(first) = answers.first() {
            chunk["timings"] = timings(ask, first);
        }
        vec![chunk]
    }

    fn whole(&mut self, ask: &Ask, answers: &[Answer]) -> Value {
        let choice = |answer: &Answer| {
            let mut choice = json!({
                "finish_reason": finish_reason(answer),
                "index": answer.index,
                "message": {"role": "assistant", "content": format!("{}{}", self.prefill, answer.text)},
            });
            if ask.options().scores.is_some() {
                choice["logprobs"] = logprobs(ask, scores::kept(&ask.app.model.tokenizer, ask.options(), answer));
            }
            choice
        };
        let mut body = json!({
            "choices": answers.iter().map(choice).collect::<Vec<_>>(),
            "created": ask.created,
            "model": ask.app.model.name(),
            "system_fingerprint": BUILD,
            "object": "chat.completion",
            "usage": usage(ask, answers),
            "id": ask.id,
        });
        if let Some(first) = answers.first() {
            body["timings"] = timings(ask, first);
        }
        body
    }
}

/// How far the prompt is, in the last chunk.
pub fn add_progress(ask: &Ask, answer: &Answer, chunks: &mut [Value]) {
    let total = ask.job.prompts.get(answer.prompt).map_or(0, Vec::len);
    let ms = answer.submitted.map_or(0, |submitted| submitted.elapsed().as_millis() as u64);
    if let Some(last) = chunks.last_mut() {
        last["prompt_progress"] =
            json!({"total": total, "cache": answer.num_cached, "processed": answer.num_computed, "time_ms": ms});
    }
}

fn delta(answer: &Answer, delta: Value, finish_reason: Value) -> Value {
    json!([{"finish_reason": finish_reason, "index": answer.index, "delta": delta}])
}

fn logprobs(ask: &Ask, list: &[engine::stream::TokenScore]) -> Value {
    let after_sampling = ask.options().scores.is_some_and(|scores| scores.after_sampling);
    let mut object = Map::new();
    object.insert("content".into(), scores::list(&ask.app.model.tokenizer, list, after_sampling));
    Value::Object(object)
}
