//! The table of routes, and the one way in: key, body, handler, errors in the route's own form.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, header};
use axum::response::Response;
use axum::routing::{MethodFilter, on};

use crate::app::App;
use crate::error::{ApiError, Form, Kind};
use crate::guard;
use crate::llama::{completion, infill, props, status, tokens};
use crate::openai::{chat, completions, embeddings, models};

/// A request whose body has been read.
pub struct Call {
    /// The body.
    pub body: Bytes,
    query: String,
}

impl Call {
    /// Whether the query has a parameter of this name that is not empty.
    pub fn query_has(&self, name: &str) -> bool {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.any(|(key, value)| key == name && !value.is_empty())
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// How a route is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    Get,
    Post,
}

/// A row of the table.
pub struct Route {
    method: Method,
    /// The path, without the prefix.
    path: &'static str,
    form: Form,
    /// Answers without a key.
    is_public: bool,
    about: &'static str,
    call: fn(Arc<App>, Call) -> Answer,
}

macro_rules! route {
    ($method:ident $path:literal $form:ident $call:path, $about:literal) => {
        Route {
            method: Method::$method,
            path: $path,
            form: Form::$form,
            is_public: false,
            about: $about,
            call: |app, call| Box::pin($call(app, call)),
        }
    };
}

const fn public(route: Route) -> Route {
    Route { is_public: true, ..route }
}

/// Every route. Aliases are rows of their own.
pub const ROUTES: &[Route] = &[
    public(route!(Get "/health" Llama status::health, "whether the server can answer")),
    public(route!(Get "/v1/health" Llama status::health, "the same")),
    route!(Get "/v1/models" OpenAi models::list, "the model that is served"),
    route!(Get "/models" OpenAi models::list, "the same"),
    route!(Post "/v1/chat/completions" OpenAi chat::complete, "answers a conversation"),
    route!(Post "/chat/completions" OpenAi chat::complete, "the same"),
    route!(Post "/v1/chat/completions/input_tokens" OpenAi chat::input_tokens, "counts the tokens of a conversation"),
    route!(Post "/chat/completions/input_tokens" OpenAi chat::input_tokens, "the same"),
    route!(Post "/v1/completions" OpenAi completions::complete, "continues prompts; `echo` scores them"),
    route!(Post "/v1/embeddings" OpenAi embeddings::embed, "vectors of texts"),
    route!(Post "/completion" Llama completion::complete, "continues prompts, with all of llama-server's fields"),
    route!(Post "/completions" Llama completion::complete, "the same"),
    route!(Post "/infill" Llama infill::fill, "fills a gap in code"),
    route!(Post "/embedding" Llama embeddings::embed_plain, "vectors of texts"),
    route!(Post "/embeddings" Llama embeddings::embed_plain, "the same"),
    route!(Post "/tokenize" Llama tokens::tokenize, "text to tokens"),
    route!(Post "/detokenize" Llama tokens::detokenize, "tokens to text"),
    route!(Post "/apply-template" Llama tokens::apply_template, "a conversation to its prompt"),
    route!(Get "/props" Llama props::show, "what is served and how"),
    route!(Post "/props" Llama props::change, "nothing can be changed; needs `--props`"),
    route!(Get "/slots" Llama status::slots, "what every slot is doing"),
    route!(Post "/slots/{id_slot}" Llama status::slot_action, "refused: slots are not saved to disk"),
    route!(Get "/metrics" Llama status::metrics, "counters for Prometheus; needs `--metrics`"),
    route!(Get "/lora-adapters" Llama status::adapters, "always an empty list"),
    route!(Post "/rerank" Llama status::rerank, "refused: there is no reranking"),
    route!(Post "/reranking" Llama status::rerank, "refused"),
    route!(Post "/v1/rerank" OpenAi status::rerank, "refused"),
    route!(Post "/v1/reranking" OpenAi status::rerank, "refused"),
];

/// All routes over `app`.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let filter = match route.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
        };
        let handler = move |State(app): State<Arc<App>>, request: Request<Body>| enter(app, route, request);
        router = router.route(&format!("{}{}", app.config.api_prefix, route.path), on(filter, handler));
    }
    let unknown = |State(app): State<Arc<App>>, request: Request<Body>| refuse(app, Kind::NotFound, request);
    let method = |State(app): State<Arc<App>>, request: Request<Body>| refuse(app, Kind::Method, request);
    router = router.fallback(unknown).method_not_allowed_fallback(method);
    guard::layers(router.with_state(app.clone()), &app)
}

/// Lets a request in and answers it.
async fn enter(app: Arc<App>, route: &'static Route, request: Request<Body>) -> Response {
    let outcome = async {
        guard::check_size(&app, request.headers())?;
        if !route.is_public {
            guard::check_key(&app, request.headers())?;
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = if route.method == Method::Post { read(&app, request).await? } else { Bytes::new() };
        (route.call)(app.clone(), Call { body, query }).await
    };
    outcome.await.unwrap_or_else(|error| told(&app, &error, route.form))
}

/// There is no such route.
async fn refuse(app: Arc<App>, kind: Kind, request: Request<Body>) -> Response {
    let path = request.uri().path();
    let form = if path.starts_with("/v1/") { Form::OpenAi } else { Form::Llama };
    let message = match kind {
        Kind::NotFound => format!("{} {path}: no such route", request.method()),
        _ => format!("{path}: not with the method {}", request.method()),
    };
    let error = guard::check_key(&app, request.headers()).err().unwrap_or_else(|| ApiError::new(kind, message));
    told(&app, &error, form)
}

fn told(app: &App, error: &ApiError, form: Form) -> Response {
    let response = error.response(form);
    if response.status().is_client_error() {
        app.metrics.num_refused.fetch_add(1, Relaxed);
    }
    response
}

/// The body, if it is not too long and comes in time.
async fn read(app: &App, request: Request<Body>) -> Result<Bytes, ApiError> {
    let most = app.config.limits.body_bytes;
    let too_large = || ApiError::new(Kind::TooLarge, format!("the body is longer than {most} bytes"));
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(app.config.timeout, axum::body::to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(problem)) => {
            let text = format!("{problem}: {:?}", std::error::Error::source(&problem));
            Err(if text.contains("length limit") {
                too_large()
            } else {
                ApiError::new(Kind::Invalid, "the body broke off")
            })
        }
        Err(_) => Err(ApiError::new(Kind::Timeout, "the body did not come in time")),
    }
}

/// The table as a page of the documentation.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Routes\n\nWhat `chaski serve` answers. The table is in `crates/server/src/routes.rs`. Errors of a route come in \
         the form of its API.\n\n| route | API | what it does |\n|---|---|---|\n",
    );
    for route in ROUTES {
        let method = if route.method == Method::Get { "GET" } else { "POST" };
        let api = if route.form == Form::OpenAi { "OpenAI" } else { "llama-server" };
        page += &format!("| `{method} {}` | {api} | {} |\n", route.path, route.about);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_stands_twice() {
        for (at, route) in ROUTES.iter().enumerate() {
            let same = |other: &Route| other.path == route.path && other.method == route.method;
            assert!(!ROUTES[..at].iter().any(same), "{}", route.path);
        }
    }
}
