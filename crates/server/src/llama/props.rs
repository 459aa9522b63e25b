//! `GET /props`: what is served and how; `POST /props`, which changes nothing.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, json};

use crate::app::{App, BUILD};
use crate::convert::options::Options;
use crate::convert::settings::settings;
use crate::error::{ApiError, Kind, json_response};
use crate::fields::Fields;
use crate::routes::Call;

/// The server's properties.
pub async fn show(app: Arc<App>, _: Call) -> Result<Response, ApiError> {
    let (model, config) = (&app.model, &app.config);
    let special = model.tokenizer.vocab().special();
    let defaults = Options::read(&app, Fields::new(&Map::new()))?;
    let body = json!({
        "default_generation_settings": {"params": settings(&defaults, true), "n_ctx": model.context},
        "total_slots": model.num_slots,
        "model_alias": model.name(),
        "model_ftype": model.ftype,
        "model_path": model.path,
        "modalities": {"vision": false, "video": false, "audio": false},
        "endpoint_slots": config.slots,
        "endpoint_props": config.props,
        "endpoint_metrics": config.metrics,
        "ui": false,
        "ui_settings": {},
        "chat_template": model.template_source,
        "bos_token": model.marker(special.bos),
        "eos_token": model.marker(special.eos),
        "build_info": BUILD,
        "is_sleeping": false,
        "cors_proxy_enabled": false,
    });
    Ok(json_response(StatusCode::OK, &body))
}

/// There is nothing that could be changed while the server runs; as in llama-server, that is no error.
pub async fn change(app: Arc<App>, _: Call) -> Result<Response, ApiError> {
    if !app.config.props {
        let message = "This server does not support changing global properties. Start it with `--props`";
        return Err(ApiError::new(Kind::NotSupported, message));
    }
    Ok(json_response(StatusCode::OK, &json!({"success": true})))
}
