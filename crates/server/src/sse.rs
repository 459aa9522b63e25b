//! Server-sent events: the frames of a streamed answer.

use axum::body::Bytes;
use serde_json::Value;

/// What ends a stream of OpenAI's.
pub const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// A comment that keeps a silent connection open.
pub const PING: Bytes = Bytes::from_static(b":\n\n");

/// A frame with this value.
pub fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}
