//! `POST /v1/completions`: a prompt in, its continuation out; with `echo`, the prompt and its probabilities too,
//! which is how evaluation tools score given answers.

use std::sync::Arc;

use axum::response::Response;
use engine::request::Scores;
use engine::stream::TokenScore;
use serde_json::{Value, json};
use text::Detokenize;

use super::chat::add_progress;
use super::{finish_reason, usage};
use crate::app::{App, BUILD};
use crate::convert::options::Options;
use crate::convert::prompt;
use crate::convert::request::Job;
use crate::error::{ApiError, Form};
use crate::fields::{Fields, object};
use crate::generate::{Answer, Ask, Part, Wire, blocking, respond};
use crate::routes::Call;
use crate::scores::{self, Legacy, Place};
use crate::timings::timings;

/// Continues prompts.
pub async fn complete(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let (ask, requests, wire) = blocking(&app, move |app| {
        let map = object(&call.body)?;
        let fields = Fields::new(&map);
        for name in ["best_of", "suffix"] {
            if fields.value(name).is_some() {
                return Err(ApiError::unsupported_field(name, "leave it out"));
            }
        }
        let mut options = Options::read(app, fields)?;
        let echo = fields.switch("echo")?.unwrap_or(false);
        if let Some(top) = fields.number("logprobs", 0, app.config.limits.top_scores.into())? {
            let after_sampling = options.scores.is_some_and(|scores| scores.after_sampling);
            options.scores = Some(Scores { top: top as u32, after_sampling });
        }
        options.prompt_scores = options.scores.filter(|_| echo).map(|scores| scores.top);
        let Some(given) = fields.value("prompt") else { return Err(ApiError::field("prompt", "is required")) };
        let prompts = prompt::all(app, "prompt", given)?;
        let echoes = if echo { echoes(app, given, &prompts)? } else { Vec::new() };
        let job = Job { prompts, options }.check(app)?;
        let requests = job.requests(app)?;
        Ok((Ask::new(app, job), requests, Completion { echoes, places: Vec::new() }))
    })
    .await?;
    respond(ask, requests, wire).await
}

/// The wire form.
struct Completion {
    /// The prompts as text, if they are to be echoed.
    echoes: Vec<Echo>,
    /// How far the text of each answer is; shorter than their number while some have not begun.
    places: Vec<Option<Place>>,
}

/// A prompt that the answer begins with.
struct Echo {
    text: String,
    /// BOS stands before the text and is no part of it.
    adds_bos: bool,
}

/// The texts of the prompts: as they were given, or put together from their tokens.
fn echoes(app: &App, given: &Value, prompts: &[Vec<u32>]) -> Result<Vec<Echo>, ApiError> {
    let text_of = |index: usize| match given {
        Value::String(text) => Some(text),
        Value::Array(list) => match list.get(index) {
            Some(Value::String(text)) if list.len() == prompts.len() => Some(text),
            _ => None,
        },
        _ => None,
    };
    let tokenizer = &app.model.tokenizer;
    let echo = |(index, prompt): (usize, &Vec<u32>)| match text_of(index) {
        Some(text) => {
            let vocab = tokenizer.vocab();
            let adds_bos = vocab.add_bos() && prompt.first().copied() == vocab.special().bos;
            Ok(Echo { text: text.clone(), adds_bos })
        }
        None => {
            let how = Detokenize { remove_special: false, unparse_special: true };
            let bytes = tokenizer.detokenize(prompt, how).map_err(|problem| ApiError::field("prompt", problem))?;
            Ok(Echo { text: String::from_utf8_lossy(&bytes).into_owned(), adds_bos: false })
        }
    };
    prompts.iter().enumerate().map(echo).collect()
}

impl Completion {
    /// The text and the probabilities of a part; its first part carries the prompt where that is echoed.
    fn shown(&mut self, ask: &Ask, answer: &Answer, text: &str, list: &[TokenScore]) -> (String, Value) {
        if self.places.len() <= answer.index {
            self.places.resize_with(answer.index + 1, || None);
        }
        let echo = self.echoes.get(answer.prompt).filter(|_| self.places[answer.index].is_none());
        let text = format!("{}{text}", echo.map_or("", |echo| &echo.text));
        let place = self.places[answer.index].get_or_insert_default();
        let Some(scores) = ask.options().scores else { return (text, Value::Null) };
        let tokenizer = &ask.app.model.tokenizer;
        let mut legacy = Legacy::new(tokenizer, place);
        if let (Some(echo), Some(&first)) = (echo, ask.job.prompts.get(answer.prompt).and_then(|prompt| prompt.first()))
        {
            legacy.unscored(first, echo.adds_bos);
            answer.prompt_scores.iter().for_each(|score| legacy.scored(score));
        }
        list.iter().for_each(|score| legacy.scored(score));
        (text, legacy.object(scores::list(tokenizer, list, scores.after_sampling)))
    }

    fn chunk(&self, ask: &Ask, choices: Value) -> Value {
        json!({
            "choices": choices,
            "created": ask.created,
            "model": ask.app.model.name(),
            "system_fingerprint": BUILD,
            "object": "text_completion",
            "id": ask.id,
        })
    }
}

fn choice(answer: &Answer, (text, logprobs): (String, Value), finish_reason: Value) -> Value {
    json!({"text": text, "index": answer.index, "logprobs": logprobs, "finish_reason": finish_reason})
}

impl Wire for Completion {
    const FORM: Form = Form::OpenAi;
    const DONE: bool = true;

    fn part(&mut self, ask: &Ask, answer: &Answer, part: Part) -> Vec<Value> {
        let only_progress = part.tokens.is_empty();
        if only_progress && !ask.options().return_progress {
            return Vec::new();
        }
        let shown = match only_progress {
            true => (String::new(), Value::Null),
            false => self.shown(ask, answer, &part.text, &part.scores),
        };
        let mut chunks = vec![self.chunk(ask, json!([choice(answer, shown, Value::Null)]))];
        if only_progress {
            add_progress(ask, answer, &mut chunks);
        }
        if ask.options().timings_per_token {
            chunks[0]["timings"] = timings(ask, answer);
        }
        chunks
    }

    fn ended(&mut self, ask: &Ask, answer: &Answer) -> Vec<Value> {
        let begun = self.places.get(answer.index).is_some_and(Option::is_some);
        // Without a token there was no part that could have carried the echo.
        let shown = if begun { (String::new(), Value::Null) } else { self.shown(ask, answer, "", &[]) };
        let mut chunk = self.chunk(ask, json!([choice(answer, shown, finish_reason(answer).into())]));
        chunk["timings"] = timings(ask, answer);
        if !ask.options().include_usage {
            // As llama-server does; OpenAI has a chunk of its own for it, and only when asked.
            chunk["usage"] = usage(ask, std::slice::from_ref(answer));
        }
        vec![chunk]
    }

    fn all_ended(&mut self, ask: &Ask, answers: &[Answer]) -> Vec<Value> {
        if !ask.options().include_usage {
            return Vec::new();
        }
        let mut chunk = self.chunk(ask, json!([]));
        chunk["usage"] = usage(ask, answers);
        vec![chunk]
    }

    fn whole(&mut self, ask: &Ask, answers: &[Answer]) -> Value {
        let mut choices = Vec::with_capacity(answers.len());
        for answer in answers {
            let list = scores::kept(&ask.app.model.tokenizer, ask.options(), answer);
            let shown = self.shown(ask, answer, &answer.text, list);
            choices.push(choice(answer, shown, finish_reason(answer).into()));
        }
        let mut body = self.chunk(ask, choices.into());
        body["usage"] = usage(ask, answers);
        if let Some(first) = answers.first() {
            body["timings"] = timings(ask, first);
        }
        body
    }
}
