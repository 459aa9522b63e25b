//! Fields that say how long an answer is, when it stops and what is told of it. llama-server's names, with
//! OpenAI's as further names of the same thing.

use engine::request::{Pooling, Scores};
use engine::sampler::Params;
use serde_json::Value;

use super::constraint::{self, Asked};
use super::sampling;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// What a request asks for, apart from its prompt.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sampling parameters; `seed` is among them.
    pub sampling: Params,
    /// What the answer must look like.
    pub constraint: Option<Asked>,
    /// Tokens to generate at most.
    pub max_tokens: Option<u32>,
    /// Prompt tokens that a context shift keeps; `None` for all.
    pub keep: Option<u32>,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Answers to each prompt.
    pub num_choices: u32,
    /// Probabilities of the answer's tokens.
    pub scores: Option<Scores>,
    /// Probabilities of the prompt's tokens, with this many likeliest ones.
    pub prompt_scores: Option<u32>,
    /// The prompt's vector.
    pub embedding: Option<Pooling>,
    /// Send pieces as they come.
    pub stream: bool,
    /// End the stream with a chunk that carries the usage.
    pub include_usage: bool,
    /// Timings in every chunk.
    pub timings_per_token: bool,
    /// Token ids in the answer.
    pub return_tokens: bool,
    /// Tell how far the prompt is.
    pub return_progress: bool,
    /// What the cache holds of the prompt may be used.
    pub cache_prompt: bool,
    /// Members that the answer is to have, all if none.
    pub response_fields: Vec<String>,
    /// Seconds of silence before a stream is kept alive; `None` for the server's.
    pub sse_ping_s: Option<i64>,
    /// An answer ends at a line that is indented less than this.
    pub min_indent: usize,
    /// An answer that has taken this long ends at its next line.
    pub most_ms: Option<u64>,
}

/// Features whose fields are known and not offered.
const REFUSED: &[(&str, &str)] = &[
    ("lora", "adapters are not applied; merge the adapter into the model"),
    ("backend_sampling", "sampling runs on the CPU; leave it out"),
    ("n_discard", "half of what is not kept is discarded; leave it out"),
    ("grammar_lazy", "a grammar holds from the first token on; leave it out"),
    ("grammar_triggers", "a grammar holds from the first token on; leave it out"),
    ("multimodal_data", "this model reads text only"),
];

impl Options {
    /// Reads all fields but the prompt, over the server's defaults.
    pub fn read(app: &App, fields: Fields<'_>) -> Result<Options, ApiError> {
        const MOST: i64 = i32::MAX as i64;
        let defaults = &app.config.defaults;
        for (name, why) in REFUSED {
            if fields.value(name).is_some_and(is_set) {
                return Err(ApiError::unsupported_field(name, why));
            }
        }
        // Hints on where to compute: the cache is shared by all sequences here, so any value is as good.
        fields.number("id_slot", -1, MOST)?;
        fields.number("n_cache_reuse", 0, MOST)?;
        let switch = |name, default| Ok::<_, ApiError>(fields.switch(name)?.unwrap_or(default));
        let max_tokens = fields.first_number(&["n_predict", "max_completion_tokens", "max_tokens"], -1, MOST)?;
        let stream_options = fields.map("stream_options")?.map(Fields::new);
        let include_usage = stream_options.map(|options| options.switch("include_usage")).transpose()?.flatten();
        let scores = fields.number("n_probs", 0, app.config.limits.top_scores.into())?.filter(|&top| top > 0);
        let after_sampling = switch("post_sampling_probs", false)?;
        Ok(Options {
            sampling: sampling::read(app, fields)?,
            constraint: constraint::read(app, fields)?,
            max_tokens: max_tokens.map_or(defaults.max_tokens, |most| u32::try_from(most).ok()),
            keep: fields.number("n_keep", -1, MOST)?.map_or(defaults.keep, |keep| u32::try_from(keep).ok()),
            stop: stop(app, fields)?,
            num_choices: fields.first_number(&["n_cmpl", "n"], 1, app.config.limits.answers as i64)?.unwrap_or(1)
                as u32,
            scores: scores.map(|top| Scores { top: top as u32, after_sampling }),
            prompt_scores: None,
            embedding: None,
            stream: switch("stream", false)?,
            include_usage: include_usage.unwrap_or(false),
            timings_per_token: switch("timings_per_token", false)?,
            return_tokens: switch("return_tokens", false)?,
            return_progress: switch("return_progress", false)?,
            cache_prompt: switch("cache_prompt", defaults.cache_prompt)?,
            response_fields: response_fields(app, fields)?,
            sse_ping_s: fields.number("sse_ping_interval", -1, MOST)?,
            min_indent: fields.number("n_indent", 0, MOST)?.unwrap_or(0) as usize,
            most_ms: fields
                .number("t_max_predict_ms", -1, i64::MAX)?
                .and_then(|ms| u64::try_from(ms).ok())
                .filter(|&ms| ms > 0),
        })
    }
}

/// Whether a value asks for anything.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) | Value::Bool(true) => true,
    }
}

/// Stop strings: one, or a list; the server's where the request has none.
fn stop(app: &App, fields: Fields<'_>) -> Result<Vec<String>, ApiError> {
    let (most, most_bytes) = app.config.limits.stops;
    let mut stop = match fields.value("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => texts("stop", list)?,
        Some(other) => return Err(wrong("stop", "a string or an array of strings", other)),
    };
    stop.retain(|text| !text.is_empty());
    if stop.len() > most || stop.iter().map(String::len).sum::<usize>() > most_bytes {
        return Err(ApiError::field("stop", format!("at most {most} strings of {most_bytes} bytes together")));
    }
    Ok(if stop.is_empty() { app.config.defaults.stop.clone() } else { stop })
}

fn response_fields(app: &App, fields: Fields<'_>) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "response_fields";
    let list = fields.list(NAME)?.map_or(&[][..], Vec::as_slice);
    if list.len() > 4 * app.config.limits.list {
        return Err(ApiError::field(NAME, format!("at most {} names", 4 * app.config.limits.list)));
    }
    texts(NAME, list)
}

/// A list of strings.
pub fn texts(name: &str, list: &[Value]) -> Result<Vec<String>, ApiError> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "an array of strings", value));
    list.iter().map(text).collect()
}
