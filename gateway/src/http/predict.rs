//! `POST /predict`: an image in, the answer as JSON out. `GET /predictions/{digest}`: the answer
//! for an image that need not be sent again.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_util::Stream;
use shoal_shared::answer::{Success, TimingMs};
use shoal_shared::digest::ImageKey;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Lane;
use warp::Filter;
use warp::http::{HeaderMap, HeaderValue, StatusCode};

use super::request::{Asked, Head, Options, head};
use super::{Front, Query, Route, caching, error, identified, jobs, json, observed, with};
use crate::predict::{Answered, Predictor};

/// The route's name in metrics and spans.
const ROUTE: &str = "/predict";

/// `POST /predict`.
pub(super) fn post(front: &Front) -> Route {
    warp::path!("predict")
        .and(warp::post())
        .and(head(front.predictor.clone()))
        .and(warp::body::stream())
        .and(with(front.clone()))
        .then(|head: Head, body, front: Front| async move {
            // On the heap at once: on its way up it would be moved at every level, and is kilobytes large.
            let answer = Box::pin(async {
                if prefers_async(&head.headers) {
                    Box::pin(later(&head, body, &front)).await
                } else {
                    handle(&head, body, &front).await
                }
            });
            let response = observed(&front.predictor, ROUTE, Some(&head.trace), answer);
            identified(response.await, &head.trace)
        })
        .boxed()
}

/// Whether the client would rather come back for the answer (RFC 7240).
pub(super) fn prefers_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("respond-async"))
}

/// A job instead of an answer.
async fn later<S, B>(head: &Head, body: S, front: &Front) -> warp::reply::Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let mut response = jobs::submit(head, body, None, front).await;
    response.headers_mut().insert("preference-applied", HeaderValue::from_static("respond-async"));
    response
}

/// `GET /predictions/{digest}`.
pub(super) fn known(predictor: &Predictor) -> Route {
    warp::path!("predictions" / String)
        .and(warp::get())
        .and(warp::query::<Query>())
        .and(warp::header::headers_cloned())
        .and(with(predictor.clone()))
        .then(|digest: String, query: Query, headers: HeaderMap, predictor: Predictor| async move {
            observed(&predictor, "/predictions", None, look_up(&digest, &query, &headers, &predictor)).await
        })
        .boxed()
}

async fn handle<S, B>(head: &Head, body: S, front: &Front) -> warp::reply::Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let (begun, predictor) = (Instant::now(), &front.predictor);
    let Asked { ask, top_k, upload: (receive, hash), .. } = match head.ask(body, Lane::Interactive, predictor).await {
        Ok(asked) => asked,
        Err(refusal) => {
            predictor.span(&head.trace, ROUTE, begun, Err(&refusal.failure));
            return error::not_predicted(&refusal);
        }
    };
    let image = ask.image.clone();
    match predictor.predict(ask).await {
        Ok(mut answered) => {
            answered.stages.set("receive", receive.as_secs_f64());
            answered.stages.set("hash", hash.as_secs_f64());
            let response = success(&head.headers, &answered, top_k, begun.elapsed());
            front.keeper.keep(&head.caller.owner, &file_name(&answered), &image);
            predictor.took(&mut answered, begun);
            predictor.span(&head.trace, ROUTE, begun, Ok(&answered));
            response
        }
        Err(refusal) => {
            predictor.span(&head.trace, ROUTE, begun, Err(&refusal.failure));
            error::not_predicted(&refusal)
        }
    }
}

async fn look_up(digest: &str, query: &Query, headers: &HeaderMap, predictor: &Predictor) -> warp::reply::Response {
    let begun = Instant::now();
    let found = async {
        let options = Options::read(query)?;
        let Some(image) = ImageKey::parse(predictor.digest_kind(), digest) else {
            let message = format!("the digest must be the image's {} in hexadecimal", predictor.digest_kind().title());
            return Err(Failure::new(FailureCode::BadRequest, message));
        };
        let options = options.served(headers, predictor).await?;
        let found = predictor.known(options.model.as_ref(), image).await?;
        let missing = || Failure::new(FailureCode::NotFound, "no prediction for this image is cached");
        Ok((found.ok_or_else(missing)?, options.top_k))
    };
    match found.await {
        Ok((answered, top_k)) => success(headers, &answered, top_k, begun.elapsed()),
        Err(failure) => error::response(&failure),
    }
}

fn success(headers: &HeaderMap, answered: &Answered, top_k: Option<usize>, total: Duration) -> warp::reply::Response {
    let timing = TimingMs::of_stages(&answered.stages, total.as_secs_f64());
    let tag = caching::entity_tag(answered);
    let server_timing = server_timing(&timing);
    let mut response = if caching::is_known(headers, &tag) {
        let mut response = warp::reply::Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json(StatusCode::OK, &body(answered, top_k, timing))
    };
    caching::describe(&mut response, answered, &tag);
    if let Ok(value) = server_timing.parse() {
        response.headers_mut().insert("server-timing", value);
    }
    response
}

/// Browsers show it beside the request (W3C Server Timing, milliseconds).
fn server_timing(timing: &TimingMs) -> String {
    let mut text = String::with_capacity(256);
    for (stage, ms) in timing.known() {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{stage};dur={ms}");
    }
    text
}

/// What an image is called by the systems replaced; empty where its MD5 is not known.
fn file_name(answered: &Answered) -> String {
    let entry = &answered.entry;
    let extension = entry.format.map_or("jpeg", |format| format.extension());
    entry.md5.map(|md5| format!("{md5}.{extension}")).unwrap_or_default()
}

/// The body of an answer.
pub(super) fn body(answered: &Answered, top_k: Option<usize>, timing: TimingMs) -> Success {
    let (entry, (model, version)) = (&answered.entry, &answered.named);
    Success {
        image_file_name: entry.md5.map(|_| file_name(answered)),
        image_sha256: entry.sha256.map(|sha256| sha256.to_string()),
        cache: Some(answered.source.as_str().to_owned()),
        worker: answered.served.as_ref().map(|served| served.worker.clone()),
        batch: answered.served.as_ref().map(|served| served.batch),
        timing_ms: timing,
        ..Success::of(&entry.prediction, top_k).named(model, version.as_ref())
    }
}
