//! What can go wrong, in the words and the JSON of the API that was called.
//!
//! [`ApiError`] is what a client is told; every route names the [`Form`] in which it is. [`ServeError`] is why
//! the server could not begin.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Whose JSON a route speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `{"error": {"message", "type", "param", "code"}}`
    OpenAi,
    /// `{"error": {"code", "message", "type"}}` with the status as a number.
    Llama,
}

/// What kind of mistake it is: status, type of either API, and OpenAI's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A field or the whole body is not what it should be.
    Invalid,
    /// The prompt does not fit the context.
    ContextSize,
    /// No key, or a wrong one.
    Authentication,
    /// No such path.
    NotFound,
    /// Not with this method.
    Method,
    /// The body is too long.
    TooLarge,
    /// The headers are too long.
    HeadersTooLarge,
    /// The client took too long.
    Timeout,
    /// Not offered, or switched off.
    NotSupported,
    /// Too much to do, or going down.
    Unavailable,
    /// Our own mistake.
    Server,
}

impl Kind {
    /// Status, llama-server's type, OpenAI's type, OpenAI's code.
    fn row(self) -> (StatusCode, &'static str, &'static str, Option<&'static str>) {
        const INVALID: &str = "invalid_request_error";
        match self {
            Kind::Invalid => (StatusCode::BAD_REQUEST, INVALID, INVALID, None),
            Kind::ContextSize => {
                (StatusCode::BAD_REQUEST, "exceed_context_size_error", INVALID, Some("context_length_exceeded"))
            }
            Kind::Authentication => {
                (StatusCode::UNAUTHORIZED, "authentication_error", INVALID, Some("invalid_api_key"))
            }
            Kind::NotFound => (StatusCode::NOT_FOUND, "not_found_error", INVALID, Some("not_found")),
            Kind::Method => (StatusCode::METHOD_NOT_ALLOWED, INVALID, INVALID, Some("method_not_allowed")),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, INVALID, Some("request_too_large")),
            Kind::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, INVALID, INVALID, Some("headers_too_large"))
            }
            Kind::Timeout => (StatusCode::REQUEST_TIMEOUT, INVALID, INVALID, Some("request_timeout")),
            Kind::NotSupported => {
                (StatusCode::NOT_IMPLEMENTED, "not_supported_error", "not_supported_error", Some("not_supported"))
            }
            Kind::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", "server_error", Some("unavailable"))
            }
            Kind::Server => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "server_error", None),
        }
    }
}

/// What a client is told instead of an answer.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// What kind of mistake.
    pub kind: Kind,
    /// One sentence that names the thing.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// Further members of the error object.
    pub details: Vec<(&'static str, Value)>,
}

impl ApiError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        ApiError { kind, message: message.into(), param: None, details: Vec::new() }
    }

    /// A field is not what it should be; `problem` reads on from the field's name.
    pub fn field(name: &str, problem: impl std::fmt::Display) -> Self {
        let error = ApiError::new(Kind::Invalid, format!("{name}: {problem}"));
        ApiError { param: Some(name.to_owned()), ..error }
    }

    /// A field asks for what is not offered.
    pub fn unsupported_field(name: &str, problem: impl std::fmt::Display) -> Self {
        ApiError { kind: Kind::NotSupported, ..ApiError::field(name, problem) }
    }

    /// The error object in a form, without the envelope.
    pub fn object(&self, form: Form) -> Value {
        let (status, llama_type, openai_type, code) = self.kind.row();
        let mut object = match form {
            Form::OpenAi => {
                json!({"message": self.message, "type": openai_type, "param": self.param, "code": code})
            }
            Form::Llama => json!({"code": status.as_u16(), "message": self.message, "type": llama_type}),
        };
        if let Some(members) = object.as_object_mut() {
            if let (Form::Llama, Some(param)) = (form, &self.param) {
                members.insert("param".into(), param.as_str().into());
            }
            members.extend(self.details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        object
    }

    /// The answer to the client.
    pub fn response(&self, form: Form) -> Response {
        let (status, ..) = self.kind.row();
        let mut response = json_response(status, &json!({"error": self.object(form)}));
        let hint = match self.kind {
            Kind::Unavailable => Some((header::RETRY_AFTER, "1")),
            Kind::HeadersTooLarge => Some((header::CONNECTION, "close")),
            _ => None,
        };
        if let Some((name, value)) = hint {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        response
    }
}

impl From<engine::Error> for ApiError {
    fn from(error: engine::Error) -> Self {
        let message = error.to_string();
        match error {
            engine::Error::PromptTooLong { num_prompt, context } => context_exceeded(num_prompt, context),
            engine::Error::EmptyPrompt => {
                ApiError { param: Some("prompt".into()), ..ApiError::new(Kind::Invalid, message) }
            }
            engine::Error::Stopped | engine::Error::QueueFull { .. } => ApiError::new(Kind::Unavailable, message),
            engine::Error::Sampler(_) | engine::Error::Constraint(_) => ApiError::new(Kind::Invalid, message),
            _ => ApiError::new(Kind::Server, message),
        }
    }
}

/// A prompt of `num_prompt` tokens does not fit.
pub fn context_exceeded(num_prompt: usize, context: u32) -> ApiError {
    let message = format!(
        "request ({num_prompt} tokens) exceeds the available context size ({context} tokens), try increasing it"
    );
    let details = vec![("n_prompt_tokens", num_prompt.into()), ("n_ctx", context.into())];
    ApiError { kind: Kind::ContextSize, message, param: Some("prompt".into()), details }
}

/// A JSON answer, spelled as llama-server does.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, headers, value.to_string()).into_response()
}

/// Why the server could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("{address}: cannot listen there: {cause}")]
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// Threads or signals were refused.
    #[error("the server cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The engine is gone although nobody asked it to end.
    #[error("the engine has stopped unexpectedly")]
    EngineStopped,
}
