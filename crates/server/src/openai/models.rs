//! `GET /v1/models`: the one model that is served, with the facts that llama-server adds.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::app::{App, unix_seconds};
use crate::error::{ApiError, json_response};
use crate::routes::Call;

/// The list of models.
pub async fn list(app: Arc<App>, _: Call) -> Result<Response, ApiError> {
    let model = &app.model;
    let vocab = model.tokenizer.vocab();
    // llama.cpp's numbers of the kinds of vocabularies.
    let vocab_type = if vocab.model() == "llama" { 1 } else { 2 };
    let body = json!({
        "models": [{
            "name": model.name(),
            "model": model.name(),
            "modified_at": "",
            "size": "",
            "digest": "",
            "type": "model",
            "description": "",
            "tags": [""],
            "capabilities": ["completion"],
            "parameters": "",
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "",
                "families": [""],
                "parameter_size": "",
                "quantization_level": "",
            },
        }],
        "object": "list",
        "data": [{
            "id": model.name(),
            "aliases": model.names,
            "tags": model.tags,
            "object": "model",
            "created": unix_seconds(),
            "owned_by": "chaski",
            "meta": {
                "vocab_type": vocab_type,
                "n_vocab": vocab.len(),
                "n_ctx": model.context,
                "n_ctx_train": model.trained_context,
                "n_embd": model.hidden_size,
                "n_params": model.num_parameters,
                "size": model.weight_bytes,
                "ftype": model.ftype,
            },
        }],
    });
    Ok(json_response(StatusCode::OK, &body))
}
