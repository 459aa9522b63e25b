//! `POST /v1/embeddings`, and llama-server's `/embedding`: vectors of texts, pooled from the normalised last layer.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::convert::options::Options;
use crate::convert::prompt;
use crate::convert::request::Job;
use crate::error::{ApiError, Kind, json_response};
use crate::fields::{Fields, object};
use crate::generate::{Answer, Ask, blocking, collect};
use crate::routes::Call;

/// How vectors are wanted.
struct Wanted {
    /// As bytes in base64 instead of a list of numbers.
    base64: bool,
    normalize: i32,
    /// llama-server's shape, even on OpenAI's route: it was asked by `content`.
    plain: bool,
    prompt_tokens: usize,
}

/// Vectors in OpenAI's form.
pub async fn embed(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let (wanted, answers) = vectors(&app, call).await?;
    if wanted.plain {
        return Ok(json_response(StatusCode::OK, &plain(&wanted, &answers)));
    }
    let entry = |answer: &Answer| {
        let vector = normalized(&answer.embedding, wanted.normalize);
        match wanted.base64 {
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                let text = BASE64_STANDARD.encode(bytes);
                json!({"embedding": text, "index": answer.index, "object": "embedding", "encoding_format": "base64"})
            }
            false => json!({"embedding": vector, "index": answer.index, "object": "embedding"}),
        }
    };
    let body = json!({
        "model": app.model.name(),
        "object": "list",
        "usage": {"prompt_tokens": wanted.prompt_tokens, "total_tokens": wanted.prompt_tokens},
        "data": answers.iter().map(entry).collect::<Vec<_>>(),
    });
    Ok(json_response(StatusCode::OK, &body))
}

/// Vectors in llama-server's form.
pub async fn embed_plain(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let (wanted, answers) = vectors(&app, call).await?;
    Ok(json_response(StatusCode::OK, &plain(&wanted, &answers)))
}

fn plain(wanted: &Wanted, answers: &[Answer]) -> Value {
    let entry = |answer: &Answer| json!({"index": answer.index, "embedding": [normalized(&answer.embedding, wanted.normalize)]});
    Value::Array(answers.iter().map(entry).collect())
}

async fn vectors(app: &Arc<App>, call: Call) -> Result<(Wanted, Vec<Answer>), ApiError> {
    let Some(pooling) = app.config.embeddings else {
        let message = "This server does not support embeddings. Start it with `--embeddings`";
        return Err(ApiError::new(Kind::NotSupported, message));
    };
    let (wanted, ask, requests) = blocking(app, move |app| {
        let map = object(&call.body)?;
        let fields = Fields::new(&map);
        let Some((name, input)) = fields.first(&["input", "content"]) else {
            return Err(ApiError::field("input", "is required"));
        };
        let base64 = match fields.text("encoding_format")? {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                return Err(ApiError::field("encoding_format", format!("expected float or base64, got `{other}`")));
            }
        };
        let size = app.model.hidden_size as i64;
        fields.number("dimensions", size, size)?;
        let normalize = fields.number("embd_normalize", -1, 64)?.map_or(app.config.embd_normalize, |p| p as i32);
        let mut options = Options::read(app, Fields::new(&Map::new()))?;
        (options.embedding, options.max_tokens, options.constraint) = (Some(pooling), Some(0), None);
        let job = Job { prompts: prompt::all(app, name, input)?, options }.check(app)?;
        let requests = job.requests(app)?;
        let prompt_tokens = job.prompts.iter().map(Vec::len).sum();
        let wanted = Wanted { base64, normalize, plain: name == "content", prompt_tokens };
        Ok((wanted, Ask::new(app, job), requests))
    })
    .await?;
    Ok((wanted, collect(ask, requests).await?))
}

/// llama.cpp's kinds of norms: none (-1), the largest value to 32760 (0), and the p-norm.
fn normalized(vector: &[f32], p: i32) -> Vec<f32> {
    let values = || vector.iter().map(|value| f64::from(value.abs()));
    let length = match p {
        ..0 => 1.0,
        0 => values().fold(0.0, f64::max) / 32760.0,
        2 => values().map(|value| value * value).sum::<f64>().sqrt(),
        p => values().map(|value| value.powi(p)).sum::<f64>().powf(1.0 / f64::from(p)),
    };
    let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|value| (f64::from(*value) * factor) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn vectors_are_normalised_as_llama_cpp_does() {
        let vector = [3.0, -4.0];
        assert_eq!(normalized(&vector, -1), vector);
        assert_eq!(normalized(&vector, 0), [24570.0, -32760.0]);
        assert_eq!(normalized(&vector, 1), [3.0 / 7.0, -4.0 / 7.0]);
        assert_eq!(normalized(&vector, 2), [0.6, -0.8]);
        assert_eq!(normalized(&[0.0, 0.0], 2), [0.0, 0.0]);
    }
}
