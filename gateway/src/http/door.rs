//! What every request goes through, whatever its route: the path's spelling, who asks, whether they
//! may, how much they have asked; and what every answer carries.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use shoal_shared::failure::{Failure, FailureCode};
use warp::reply::Response;

use super::pacing::Pacing;
use super::predict::prefers_async;
use super::upload::discard;
use super::{error, openapi, spelling, v2};
use crate::accounts::config::AuthMode;
use crate::accounts::{Accounts, Caller, Left, Scope, unauthorized};
use crate::admission::Refusal;
use crate::config::GatewayConfig;

/// How long browsers may remember what other pages are allowed.
const CORS_MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const CORS_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const CORS_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, x-api-key, x-request-id, traceparent, prefer, idempotency-key, last-event-id, cache-control",
);
const CORS_EXPOSED: HeaderValue = HeaderValue::from_static(
    "location, retry-after, x-request-id, x-cache, server-timing, etag, ratelimit-limit, ratelimit-remaining, ratelimit-reset",
);

/// First words of the paths below which everything belongs to somebody.
const OWNED: [&str; 7] = ["jobs", "feedback", "display", "user", "keys", "webhooks", "model"];

/// The door. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Door(Arc<State>);

struct State {
    accounts: Accounts,
    origins: Vec<String>,
    encrypted: bool,
    keeps_images: bool,
    pacing: Pacing,
}

impl Door {
    pub(crate) fn new(accounts: Accounts, config: &GatewayConfig) -> Self {
        let encrypted = config.tls_cert_file.is_some();
        let (origins, keeps_images) = (config.cors_origins.clone(), config.keep_images);
        Self(Arc::new(State { accounts, origins, encrypted, keeps_images, pacing: Pacing::new() }))
    }

    /// Lets a request in, or answers it here.
    pub(super) async fn pass<F, R>(&self, mut request: Request<Incoming>, from: IpAddr, enter: F) -> Response
    where
        F: FnOnce(Request<Incoming>) -> R,
        R: Future<Output = Response>,
    {
        spelling::normalise(request.uri_mut());
        // Answered like a GET; hyper knows what was asked, and sends no body.
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        let origin = self.allowed_origin(request.headers());
        let place = (request.method().clone(), request.uri().path().to_owned());
        if origin.is_some() && is_preflight(&request) {
            return self.leave(preflight(), &place, origin, None);
        }
        let (mut response, left) = match self.admit(&request, from).await {
            Ok((caller, left)) => {
                request.extensions_mut().insert(Arc::new(caller));
                (enter(request).await, left)
            }
            Err((refusal, left)) => {
                // Unless the client waits to be told to send its body.
                if !request.headers().contains_key(header::EXPECT) {
                    discard(request.into_body().into_data_stream()).await;
                }
                let in_protocol = place.1 == "/v2" || place.1.starts_with("/v2/");
                (if in_protocol { v2::refused(&refusal) } else { error::refused(&refusal) }, left)
            }
        };
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            self.0.pacing.turn().await;
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        self.leave(response, &place, origin, left)
    }

    async fn admit(
        &self,
        request: &Request<Incoming>,
        from: IpAddr,
    ) -> Result<(Caller, Option<Left>), (Refusal, Option<Left>)> {
        let accounts = &self.0.accounts;
        let (method, path) = (request.method(), request.uri().path());
        let refuse = |failure: Failure| (Refusal::from(failure), None);
        let mode = accounts.rules().mode;
        let caller = match credentials(request.headers()) {
            None => Caller::anonymous(),
            Some(sent) => match accounts.identify(sent).await {
                Ok(caller) => caller,
                // Where nobody needs credentials, wrong ones keep nobody out; but what belongs to an
                // account must not end up with everybody because a token has run out.
                Err(_) if is_public(method, path) || mode == AuthMode::Off && !self.is_owned(request) => {
                    Caller::anonymous()
                }
                Err(failure) => return Err(refuse(failure)),
            },
        };
        if is_public(method, path) {
            return Ok((caller, None));
        }
        if mode == AuthMode::Required && !caller.is_known() {
            return Err(refuse(unauthorized()));
        }
        if let Some(scope) = scope(path) {
            caller.may(scope).map_err(refuse)?;
        }
        let rates = accounts.rates();
        if rates.unlimited() && caller.allowance == Default::default() {
            return Ok((caller, None));
        }
        let name = caller.name.clone().unwrap_or_else(|| format!("at-{from}"));
        let left = rates.count(&name, caller.allowance);
        match left.and_then(|left| left.refused) {
            None => Ok((caller, left)),
            Some((what, wait)) => {
                let failure = Failure::new(FailureCode::RateLimited, format!("{what} is used up"));
                Err((Refusal { failure, retry_after: Some(wait) }, left))
            }
        }
    }

    /// Whether what is asked for, or left behind, belongs to somebody.
    fn is_owned(&self, request: &Request<Incoming>) -> bool {
        let first = request.uri().path().split('/').nth(1).unwrap_or_default();
        let keeps = self.0.keeps_images && ["", "predict"].contains(&first);
        keeps || OWNED.contains(&first) || prefers_async(request.headers())
    }

    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.0.origins.is_empty() {
            return None;
        }
        let origin = headers.get(header::ORIGIN)?;
        let is_allowed = |allowed: &String| allowed == "*" || allowed.as_bytes() == origin.as_bytes();
        self.0.origins.iter().any(is_allowed).then(|| origin.clone())
    }

    /// What every answer carries.
    fn leave(
        &self,
        mut response: Response,
        place: &(Method, String),
        origin: Option<HeaderValue>,
        left: Option<Left>,
    ) -> Response {
        let not_allowed = response.status() == StatusCode::METHOD_NOT_ALLOWED;
        let headers = response.headers_mut();
        if not_allowed && let Ok(allowed) = HeaderValue::from_str(&openapi::methods_of(&place.1)) {
            headers.insert(header::ALLOW, allowed);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.0.encrypted {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        if let Some(left) = left {
            for (name, value) in [
                ("ratelimit-limit", left.limit),
                ("ratelimit-remaining", left.remaining),
                ("ratelimit-reset", left.reset),
            ] {
                headers.insert(HeaderName::from_static(name), value.into());
            }
        }
        if !self.0.origins.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
        }
        response
    }
}

/// The credentials of a request.
fn credentials(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        // Bytes that are no text are nobody's key.
        return Some(key.to_str().unwrap_or("?"));
    }
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What anybody may see: the page, the documentation, health and metrics; and the way in.
fn is_public(method: &Method, path: &str) -> bool {
    match path {
        "/" => method != Method::POST,
        "/login" | "/healthz" | "/readyz" | "/metrics" | "/docs" | "/openapi.json" | "/openapi.yaml" | "/samples" => {
            true
        }
        "/user" => method == Method::POST,
        _ => ["/api/", "/assets/", "/samples/", "/v2/health/"].iter().any(|prefix| path.starts_with(prefix)),
    }
}

/// What a key must be made for to take a route.
fn scope(path: &str) -> Option<Scope> {
    let first = path.split('/').nth(1)?;
    match first {
        "user" | "keys" | "webhooks" => Some(Scope::Account),
        "feedback" => Some(Scope::Feedback),
        _ => Some(Scope::Predict),
    }
}

fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, CORS_MAX_AGE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_two_headers() {
        let read = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            credentials(&headers).map(str::to_owned)
        };
        assert_eq!(read("authorization", "bearer abc").as_deref(), Some("abc"));
        assert_eq!(read("x-api-key", "abc").as_deref(), Some("abc"));
        assert_eq!(read("authorization", "Basic abc"), None);
    }

    #[test]
    fn what_is_not_named_public_is_not() {
        assert!(is_public(&Method::GET, "/") && !is_public(&Method::POST, "/"));
        assert!(is_public(&Method::POST, "/user") && !is_public(&Method::GET, "/user"));
        for path in ["/predict", "/jobs", "/v2/models/m/infer", "/models", "/apix", "/display/x.png"] {
            assert!(!is_public(&Method::GET, path), "{path}");
        }
    }
}
