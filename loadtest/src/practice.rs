//! A server of known behaviour, to check a load generator against: it delays, stalls, fails, refuses
//! and mixes answers up as it is told, and keeps account of it.

mod account;
mod behaviour;
mod recognise;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use shoal_shared::process::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use account::{Account, Stall};
pub use behaviour::{Behaviour, Delay};

/// Largest upload.
const MAX_BODY: usize = 32 << 20;
/// Requests that may be computed at once without `slots`.
const MANY: usize = 100_000;

struct Practice {
    behaviour: Behaviour,
    account: Account,
    slots: Semaphore,
    inside: AtomicUsize,
}

/// Serves until shutdown is ordered. A stall blocks the thread that this runs on, and so everything,
/// as a garbage collection or a full disk does: give it a runtime of its own.
pub async fn serve(listener: TcpListener, behaviour: Behaviour, shutdown: Shutdown) {
    let slots = Semaphore::new(behaviour.slots.unwrap_or(MANY));
    let practice = Arc::new(Practice { account: Account::default(), slots, inside: AtomicUsize::new(0), behaviour });
    let stalling = tokio::spawn(stall(practice.clone()));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    practice.account.seen(peer.ip());
                    stream
                }
                // Out of descriptors: whoever closes one makes room.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            () = shutdown.ordered() => break,
        };
        let _ = stream.set_nodelay(true);
        let practice = practice.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(practice.clone(), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
    stalling.abort();
}

async fn stall(practice: Arc<Practice>) {
    let Behaviour { stall, stall_every, .. } = practice.behaviour;
    let (false, false) = (stall.is_zero(), stall_every.is_zero()) else { return };
    let mut beat = tokio::time::interval_at((Instant::now() + stall_every).into(), stall_every);
    loop {
        beat.tick().await;
        let begun = practice.account.now();
        std::thread::sleep(stall);
        practice.account.stalled(begun);
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(practice: Arc<Practice>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"success":false}"#));
    };
    let body = body.to_bytes();
    let has_token =
        head.headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"Bearer practice-"));
    Ok(match (&head.method, head.uri.path()) {
        (&Method::GET, "/") => json(StatusCode::OK, r#"{"practice":true}"#),
        (&Method::GET, "/practice") => json(StatusCode::OK, &practice.account.json()),
        (&Method::POST, "/login") => practice.login(&body),
        (&Method::GET, "/user/") if has_token => json(StatusCode::OK, "[]"),
        (&Method::POST, "/model/predict") | (&Method::GET, "/user/") if !has_token => {
            json(StatusCode::UNAUTHORIZED, r#"{"detail":"Not authenticated"}"#)
        }
        (&Method::POST, "/predict" | "/model/predict") => practice.predict(&body, arrived).await,
        _ => json(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#),
    })
}

impl Practice {
    fn login(&self, body: &[u8]) -> Answer {
        let form = String::from_utf8_lossy(body);
        if !["username=", "password="].iter().all(|field| form.split('&').any(|part| part.starts_with(field))) {
            return json(StatusCode::UNPROCESSABLE_ENTITY, r#"{"detail":"username and password are needed"}"#);
        }
        let number = self.account.logged_in();
        json(StatusCode::OK, &format!(r#"{{"access_token":"practice-{number}","token_type":"bearer"}}"#))
    }

    async fn predict(&self, body: &[u8], arrived: Instant) -> Answer {
        let inside = Inside::enter(&self.inside);
        if self.behaviour.refuse_above.is_some_and(|most| inside.count > most) {
            self.account.refused();
            let mut refusal = json(StatusCode::TOO_MANY_REQUESTS, r#"{"success":false}"#);
            refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return refusal;
        }
        let _slot = self.slots.acquire().await;
        let delay = self.behaviour.delay.draw(fastrand::f64());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let label = recognise::label(body);
        self.account.answered(delay, arrived.elapsed());
        if fastrand::f64() < self.behaviour.errors {
            self.account.failed();
            return json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"success":false}"#);
        }
        let mixed_up = fastrand::f64() < self.behaviour.mix_up;
        if mixed_up {
            self.account.mixed_up();
        }
        let label = if mixed_up { "somebody else's" } else { label };
        json(StatusCode::OK, &format!(r#"{{"success":true,"prediction":"{label}","score":1.0}}"#))
    }
}

struct Inside<'a> {
    all: &'a AtomicUsize,
    count: usize,
}

impl<'a> Inside<'a> {
    fn enter(all: &'a AtomicUsize) -> Self {
        Self { count: all.fetch_add(1, Ordering::Relaxed) + 1, all }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

fn json(status: StatusCode, body: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
