//! `GET /health`, `/metrics` and `/slots`, and the parts of llama-server that are refused by name.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::error::{ApiError, Kind, json_response};
use crate::routes::Call;

/// Whether the server can answer.
pub async fn health(app: Arc<App>, _: Call) -> Result<Response, ApiError> {
    if !app.metrics.engine_lives() {
        return Err(ApiError::new(Kind::Unavailable, "the engine has stopped"));
    }
    Ok(json_response(StatusCode::OK, &json!({"status": "ok"})))
}

/// Counters in Prometheus' text form.
pub async fn metrics(app: Arc<App>, _: Call) -> Result<Response, ApiError> {
    if !app.config.metrics {
        let message = "This server does not support metrics endpoint. Start it with `--metrics`";
        return Err(ApiError::new(Kind::NotSupported, message));
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((StatusCode::OK, headers, app.metrics.page()).into_response())
}

/// What every slot is doing.
pub async fn slots(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    if !app.config.slots {
        let message = "This server does not support slots endpoint. Start it with `--slots`";
        return Err(ApiError::new(Kind::NotSupported, message));
    }
    let (shown, num_free) = app.slots.shown(app.model.context);
    if num_free == 0 && call.query_has("fail_on_no_slot") {
        return Err(ApiError::new(Kind::Unavailable, "no slot available"));
    }
    Ok(json_response(StatusCode::OK, &shown))
}

/// Slots are not saved to disk.
pub async fn slot_action(_: Arc<App>, _: Call) -> Result<Response, ApiError> {
    let message = "This server does not support slots action. Start it with `--slot-save-path`";
    Err(ApiError::new(Kind::NotSupported, message))
}

/// There is no model for it.
pub async fn rerank(_: Arc<App>, _: Call) -> Result<Response, ApiError> {
    let message = "This server does not support reranking. Start it with `--reranking`";
    Err(ApiError::new(Kind::NotSupported, message))
}

/// Adapters are not applied, so none is loaded.
pub async fn adapters(_: Arc<App>, _: Call) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &json!([])))
}
