//! Who is let in, and what happens when a handler fails: API keys, CORS, panics.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::app::App;
use crate::config::Cors;
use crate::error::{ApiError, Form, Kind, ServeError};

/// Fingerprints of the keys that are let in.
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    pub fn new(keys: &[String]) -> Self {
        Keys(keys.iter().map(|key| fingerprint(key.as_bytes())).collect())
    }

    /// Whether it is one of them. Compares fingerprints of one length, all of them, each in constant time, so
    /// that the time taken tells nothing about a key.
    fn has(&self, key: &[u8]) -> bool {
        let given = fingerprint(key);
        let found = self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&given));
        found.into()
    }
}

fn fingerprint(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Lets requests pass that carry a key in `Authorization: Bearer` or `X-Api-Key`, if keys are set.
pub fn check_key(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    if app.keys.0.is_empty() {
        return Ok(());
    }
    let given = headers.get(header::AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    let given = given.map_or(&b""[..], HeaderValue::as_bytes);
    let given = given.strip_prefix(b"Bearer ").unwrap_or(given);
    match app.keys.has(given) {
        true => Ok(()),
        false => Err(ApiError::new(Kind::Authentication, "Invalid API Key")),
    }
}

/// Lets requests pass whose headers are within the limit. Reading a head stops at about that many bytes too, but
/// how much arrives at once is up to the network.
pub fn check_size(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let num_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let most = app.config.limits.header_bytes;
    if num_bytes <= most {
        return Ok(());
    }
    Err(ApiError::new(Kind::HeadersTooLarge, format!("headers of {num_bytes} bytes; {most} are read")))
}

/// What stands around all routes.
pub fn layers(router: Router, app: &Arc<App>) -> Router {
    let metrics = app.metrics.clone();
    let failed = move |_: Box<dyn Any + Send + 'static>| -> Response<Body> {
        metrics.num_panics.fetch_add(1, Relaxed);
        ApiError::new(Kind::Server, "the request made the server fail; it is a bug worth reporting")
            .response(Form::OpenAi)
    };
    let router = router.layer(CatchPanicLayer::custom(failed));
    match app.cors.clone() {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// The headers that let pages of other origins call, as asked for.
pub fn cors(cors: &Cors) -> Result<CorsLayer, ServeError> {
    let any = |list: &[String]| list.iter().any(|entry| entry == "*");
    let origins = if any(&cors.origins) {
        // With credentials a star is not allowed, so the origin is echoed, as llama-server does.
        if cors.credentials { AllowOrigin::mirror_request() } else { AllowOrigin::any() }
    } else if cors.origins.iter().any(|origin| origin == "localhost") {
        AllowOrigin::predicate(|origin, _| is_local(origin))
    } else {
        AllowOrigin::list(
            cors.origins
                .iter()
                .map(|text| parsed::<HeaderValue>("--cors-origins", text))
                .collect::<Result<Vec<_>, _>>()?,
        )
    };
    let methods =
        cors.methods.iter().map(|text| parsed::<Method>("--cors-methods", text)).collect::<Result<Vec<_>, _>>()?;
    let headers = match (any(&cors.headers), cors.credentials) {
        (true, true) => AllowHeaders::mirror_request(),
        (true, false) => AllowHeaders::any(),
        (false, _) => {
            let names = cors.headers.iter().map(|text| parsed::<HeaderName>("--cors-headers", text));
            AllowHeaders::list(names.collect::<Result<Vec<_>, _>>()?)
        }
    };
    let layer =
        CorsLayer::new().allow_origin(origins).allow_methods(AllowMethods::list(methods)).allow_headers(headers);
    Ok(layer.allow_credentials(cors.credentials))
}

fn parsed<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, ServeError> {
    text.trim().parse().map_err(|_| ServeError::Setting(format!("{flag}: `{text}` cannot be used")))
}

/// Whether an origin is a page of this machine, on any port.
fn is_local(origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let Some((_, host)) = origin.split_once("://") else { return false };
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_key_is_let_in() {
        let keys = Keys::new(&["secret".into(), "other".into()]);
        for (key, expected) in [("secret", true), ("other", true), ("secre", false), ("secret ", false), ("", false)] {
            assert_eq!(keys.has(key.as_bytes()), expected, "{key:?}");
        }
    }

    #[test]
    fn local_origins_are_known_by_their_host() {
        for (origin, expected) in [
            ("http://localhost", true),
            ("http://localhost:3000", true),
            ("https://127.0.0.1:8080", true),
            ("http://[::1]:80", true),
            ("http://localhost.evil.example", false),
            ("http://evil.example:80", false),
            ("localhost", false),
        ] {
            assert_eq!(is_local(&HeaderValue::from_static(origin)), expected, "{origin}");
        }
    }
}
