//! Jobs: accept now, answer later. `POST /jobs`, `PUT /jobs/{id}` under an id of one's own,
//! `GET /jobs` lists, `GET /jobs/{id}` tells, `?wait=` seconds long, `DELETE` cancels.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use shoal_shared::digest::ImageSha256;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::{JobId, Lane, Owner};
use warp::Filter;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::request::{Head, head, number};
use super::{Front, Query, Route, any_of, error, events, identified, json, observed, with};
use crate::accounts::Caller;
use crate::jobs::{JobState, JobView, Submission, Webhook};
use crate::webhooks;

/// Longest time that `?wait=` may ask for, in seconds.
const LONGEST_WAIT: u64 = 60;
/// Jobs that a listing gives when it does not say.
const LISTED: u64 = 100;
/// Longest key that makes a submission idempotent.
const MAX_KEY: usize = 255;

/// Every route of jobs.
pub(super) fn routes(front: &Front) -> Route {
    let who = warp::ext::get::<Arc<Caller>>;
    let post = warp::path!("jobs")
        .and(warp::post())
        .and(head(front.predictor.clone()))
        .and(warp::body::stream())
        .and(with(front.clone()))
        .then(|head: Head, body, front: Front| async move {
            let response = observed(&front.predictor, "/jobs", Some(&head.trace), async {
                match idempotency(&head) {
                    Ok(id) => submit(&head, body, id, &front).await,
                    Err(failure) => error::response(&failure),
                }
            });
            identified(response.await, &head.trace)
        });
    let put = warp::path!("jobs" / String)
        .and(warp::put())
        .and(head(front.predictor.clone()))
        .and(warp::body::stream())
        .and(with(front.clone()))
        .then(|id: String, head: Head, body, front: Front| async move {
            let response = observed(&front.predictor, "/jobs/{id}", Some(&head.trace), async {
                let invalid = |error: &dyn std::fmt::Display| Failure::new(FailureCode::Invalid, error.to_string());
                match id.parse() {
                    Ok(id) => submit(&head, body, Some(id), &front).await,
                    Err(error) => error::response(&invalid(&error)),
                }
            });
            identified(response.await, &head.trace)
        });
    let list =
        warp::path!("jobs").and(warp::get()).and(warp::query::<Query>()).and(who()).and(with(front.clone())).then(
            |query: Query, caller: Arc<Caller>, front: Front| async move {
                observed(&front.predictor, "/jobs", None, list(&query, &caller.owner, &front)).await
            },
        );
    let get = warp::path!("jobs" / String)
        .and(warp::get())
        .and(warp::query::<Query>())
        .and(who())
        .and(with(front.clone()))
        .then(|id: String, query: Query, caller: Arc<Caller>, front: Front| async move {
            observed(&front.predictor, "/jobs/{id}", None, view(&id, &query, &caller.owner, &front)).await
        });
    let delete = warp::path!("jobs" / String).and(warp::delete()).and(who()).and(with(front.clone())).then(
        |id: String, caller: Arc<Caller>, front: Front| async move {
            observed(&front.predictor, "/jobs/{id}", None, cancel(&id, &caller.owner, &front)).await
        },
    );
    any_of([
        post.boxed(),
        put.boxed(),
        list.boxed(),
        get.boxed(),
        delete.boxed(),
        events::routes(front),
        webhook_secret(front),
    ])
}

/// `GET /webhooks/secret`: what calls about the caller's jobs are signed with.
fn webhook_secret(front: &Front) -> Route {
    warp::path!("webhooks" / "secret")
        .and(warp::get())
        .and(warp::ext::get::<Arc<Caller>>())
        .and(with(front.clone()))
        .then(|caller: Arc<Caller>, front: Front| async move {
            let secret = async {
                let secret = front.accounts.webhook_secret(&caller.owner).await?;
                Ok(serde_json::json!({ "secret": format!("whsec_{secret}") }))
            };
            observed(&front.predictor, "/webhooks/secret", None, super::account::answered(StatusCode::OK, secret)).await
        })
        .boxed()
}

/// The id that an `Idempotency-Key` stands for.
fn idempotency(head: &Head) -> Result<Option<JobId>, Failure> {
    let Some(key) = head.headers.get("idempotency-key") else { return Ok(None) };
    let key = key.as_bytes();
    if key.is_empty() || key.len() > MAX_KEY {
        let message = format!("`Idempotency-Key` must have 1 to {MAX_KEY} characters");
        return Err(Failure::new(FailureCode::BadRequest, message));
    }
    let id = format!("i{}", &ImageSha256::of(key).to_string()[..40]);
    id.parse().map(Some).map_err(|_| Failure::new(FailureCode::Internal, "the key gives no id"))
}

/// Reads a job and accepts it.
pub(super) async fn submit<S, B>(head: &Head, body: S, id: Option<JobId>, front: &Front) -> Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let predictor = &front.predictor;
    let submitted = async {
        let webhook = webhook(&head.query, front)?;
        let asked = head.ask(body, Lane::Bulk, predictor).await?;
        let owner = head.caller.owner.clone();
        predictor.submit(Submission { ask: asked.ask, top_k: asked.top_k, owner, id, webhook }).await
    };
    match submitted.await {
        Ok(submitted) => {
            let location = HeaderValue::from_str(&format!("/jobs/{}", submitted.view.id));
            let status = if submitted.fresh { StatusCode::ACCEPTED } else { StatusCode::OK };
            let mut response = json(status, &submitted.view);
            location.into_iter().for_each(|location| drop(response.headers_mut().insert(header::LOCATION, location)));
            response
        }
        Err(refusal) => error::refused(&refusal),
    }
}

fn webhook(query: &Query, front: &Front) -> Result<Option<Webhook>, Failure> {
    let Some(url) = query.get("webhook") else { return Ok(None) };
    webhooks::check(url, front.predictor.config().webhooks_to_private_addresses)?;
    let named = query.get("webhook_events").map(String::as_str).unwrap_or_default();
    let events: Vec<String> =
        named.split(',').map(str::trim).filter(|event| !event.is_empty()).map(str::to_owned).collect();
    match events.iter().find(|event| !webhooks::EVENTS.contains(&event.as_str())) {
        Some(unknown) => {
            let message = format!("`webhook_events` names {unknown:?}: there are {}", webhooks::EVENTS.join(", "));
            Err(Failure::new(FailureCode::Invalid, message))
        }
        None => Ok(Some(Webhook { url: url.clone(), events })),
    }
}

async fn list(query: &Query, owner: &Owner, front: &Front) -> Response {
    let jobs = async {
        let limit = number(query, "limit", shoal_nats::register::MAX_LISTED as u64)?.unwrap_or(LISTED);
        front.predictor.jobs(owner, limit as usize).await
    };
    super::account::answered(StatusCode::OK, jobs).await
}

async fn view(id: &str, query: &Query, owner: &Owner, front: &Front) -> Response {
    let found = async {
        let wait = number(query, "wait", LONGEST_WAIT)?.unwrap_or(0);
        front.predictor.job(owner, &parse(id)?, Duration::from_secs(wait)).await
    };
    respond(found.await, StatusCode::OK)
}

async fn cancel(id: &str, owner: &Owner, front: &Front) -> Response {
    let cancelled = async { front.predictor.cancel(owner, &parse(id)?).await };
    let cancelled = cancelled.await;
    let came_too_late = cancelled.as_ref().is_ok_and(|job| job.state != JobState::Cancelled);
    respond(cancelled, if came_too_late { StatusCode::CONFLICT } else { StatusCode::OK })
}

fn respond(job: Result<JobView, Failure>, status: StatusCode) -> Response {
    match job {
        Ok(job) => json(status, &job),
        Err(failure) => error::refused(&failure.into()),
    }
}

pub(super) fn parse(id: &str) -> Result<JobId, Failure> {
    id.parse().map_err(|_| Failure::new(FailureCode::NotFound, format!("there is no job {id:?}")))
}
