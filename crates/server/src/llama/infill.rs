//! `POST /infill`: code before and after a gap in, the gap's code out, by the model's fill-in-the-middle tokens.

use std::sync::Arc;

use axum::response::Response;
use serde_json::Value;
use text::Encode;

use super::completion::{Completion, options};
use crate::app::App;
use crate::convert::prompt::mixed;
use crate::convert::request::Job;
use crate::error::{ApiError, Kind};
use crate::fields::{Fields, object, wrong};
use crate::generate::{Ask, blocking, respond};
use crate::routes::Call;

/// Between extra chunks where the model has no token for it: what llama-server writes.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// Fills a gap.
pub async fn fill(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let (ask, requests) = blocking(&app, move |app| {
        let map = object(&call.body)?;
        let fields = Fields::new(&map);
        let options = options(app, fields)?;
        let prompt = prompt(app, fields, options.max_tokens.unwrap_or(0))?;
        let job = Job { prompts: vec![prompt], options }.check(app)?;
        let requests = job.requests(app)?;
        Ok((Ask::new(app, job), requests))
    })
    .await?;
    respond(ask, requests, Completion).await
}

/// Extra chunks, prefix, suffix and the beginning of the middle, cut to fit the context as llama-server does.
fn prompt(app: &App, fields: Fields<'_>, max_tokens: u32) -> Result<Vec<u32>, ApiError> {
    let tokenizer = &app.model.tokenizer;
    let special = tokenizer.vocab().special();
    let (Some(fim_pre), Some(fim_suf), Some(fim_mid)) = (special.fim_pre, special.fim_suf, special.fim_mid) else {
        let message = "Infill is not supported by this model: it has no fill-in-the-middle tokens";
        return Err(ApiError::new(Kind::NotSupported, message));
    };
    let required = |name: &str| {
        let value = fields.value(name).ok_or_else(|| ApiError::field(name, "is required"))?;
        mixed(app, name, value, Encode::TEXT)
    };
    let (mut prefix, mut suffix) = (required("input_prefix")?, required("input_suffix")?);
    let middle =
        tokenizer.encode(fields.text("prompt")?.unwrap_or(""), Encode { add_special: false, parse_special: true });
    let extra = extra(app, fields)?;

    // Three quarters of a batch before the gap, one behind it, and what the context has left for the extra chunks.
    let quarter = app.config.defaults.batch / 4;
    prefix.drain(..prefix.len().saturating_sub(3 * quarter));
    suffix.truncate(quarter.saturating_sub(2 + middle.len()));
    let room = (app.model.context as usize).saturating_sub(app.config.defaults.batch + 2 * max_tokens as usize);
    let extra = &extra[extra.len().saturating_sub(room)..];

    let before = [&[fim_pre], &prefix[..], &middle].concat();
    let behind = [&[fim_suf], &suffix[..]].concat();
    let (first, second) = if app.config.defaults.spm_infill { (behind, before) } else { (before, behind) };
    let bos: Vec<u32> = special.bos.filter(|_| tokenizer.vocab().add_bos()).into_iter().collect();
    Ok([extra, &bos, &first, &second, &[fim_mid]].concat())
}

/// The tokens of `input_extra`: other files, each under its name where the model has tokens for that.
fn extra(app: &App, fields: Fields<'_>) -> Result<Vec<u32>, ApiError> {
    const NAME: &str = "input_extra";
    let tokenizer = &app.model.tokenizer;
    let special = tokenizer.vocab().special();
    let encode = |text: &str| tokenizer.encode(text, Encode::TEXT);
    let mut tokens = Vec::new();
    if let Some(repository) = special.fim_rep {
        tokens.push(repository);
        tokens.extend(encode("myproject\n"));
    }
    for chunk in fields.list(NAME)?.map_or(&[][..], Vec::as_slice) {
        let Some(Value::String(text)) = chunk.get("text") else {
            return Err(wrong(NAME, "objects with a text and a filename", chunk));
        };
        let name = match chunk.get("filename") {
            None | Some(Value::Null) => "tmp",
            Some(Value::String(name)) => name,
            Some(other) => return Err(wrong("input_extra.filename", "a string", other)),
        };
        match special.fim_sep {
            Some(separator) => {
                tokens.push(separator);
                tokens.extend(encode(&format!("{name}\n")));
            }
            None => tokens.extend(encode(SNIPPET)),
        }
        tokens.extend(encode(text));
    }
    if let Some(separator) = special.fim_sep {
        tokens.push(separator);
        tokens.extend(encode("filename\n"));
    }
    Ok(tokens)
}
