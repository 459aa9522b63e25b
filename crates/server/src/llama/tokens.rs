//! `POST /tokenize`, `/detokenize` and `/apply-template`: text to tokens and back, and conversations to text.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use text::{Detokenize, Encode};

use crate::app::App;
use crate::convert::chat;
use crate::convert::prompt::{mixed, token};
use crate::error::{ApiError, json_response};
use crate::fields::{Fields, object};
use crate::generate::blocking;
use crate::routes::Call;

/// The tokens of a text, or of a list of texts and tokens.
pub async fn tokenize(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let body = blocking(&app, move |app| {
        let map = object(&call.body)?;
        let fields = Fields::new(&map);
        let how = Encode {
            add_special: fields.switch("add_special")?.unwrap_or(false),
            parse_special: fields.switch("parse_special")?.unwrap_or(true),
        };
        let with_pieces = fields.switch("with_pieces")?.unwrap_or(false);
        let tokens = match fields.value("content") {
            Some(content) => mixed(app, "content", content, how)?,
            None => Vec::new(),
        };
        if !with_pieces {
            return Ok(json!({"tokens": tokens}));
        }
        let with_piece = |&id: &u32| json!({"id": id, "piece": piece(app, id)});
        Ok(json!({"tokens": tokens.iter().map(with_piece).collect::<Vec<_>>()}))
    })
    .await?;
    Ok(json_response(StatusCode::OK, &body))
}

/// The text of a token, or its bytes where they are no text.
fn piece(app: &App, id: u32) -> Value {
    let bytes = app.model.tokenizer.piece(id, true);
    match std::str::from_utf8(&bytes) {
        Ok(text) => text.into(),
        Err(_) => json!(bytes),
    }
}

/// The text of tokens.
pub async fn detokenize(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let body = blocking(&app, move |app| {
        let map = object(&call.body)?;
        let list = Fields::new(&map).list("tokens")?.map_or(&[][..], Vec::as_slice);
        let tokens = list.iter().map(|value| token(app, "tokens", value)).collect::<Result<Vec<_>, _>>()?;
        let how = Detokenize { remove_special: false, unparse_special: true };
        let bytes =
            app.model.tokenizer.detokenize(&tokens, how).map_err(|problem| ApiError::field("tokens", problem))?;
        Ok(json!({"content": String::from_utf8_lossy(&bytes)}))
    })
    .await?;
    Ok(json_response(StatusCode::OK, &body))
}

/// The prompt of a conversation.
pub async fn apply_template(app: Arc<App>, call: Call) -> Result<Response, ApiError> {
    let text = blocking(&app, move |app| Ok(chat::render(app, Fields::new(&object(&call.body)?))?.text)).await?;
    Ok(json_response(StatusCode::OK, &json!({"prompt": text})))
}
