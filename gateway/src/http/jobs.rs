//! `POST /jobs`: accept now, answer later. `GET /jobs/{id}` tells, `?wait=` seconds long;
//! `DELETE /jobs/{id}` cancels.

use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use shoal_shared::failure::Failure;
use shoal_shared::names::{JobId, Lane};
use warp::Filter;
use warp::http::{HeaderValue, StatusCode, header};

use super::request::{Head, head, number};
use super::{Query, error, identified, json, observed, with};
use crate::jobs::{JobState, JobView};
use crate::predict::Predictor;

type Route = warp::reply::Response;

/// Longest time that `?wait=` may ask for, in seconds.
const LONGEST_WAIT: u64 = 60;

/// `POST /jobs`.
pub(super) fn post(predictor: Predictor) -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path!("jobs")
        .and(warp::post())
        .and(head(predictor.clone()))
        .and(warp::body::stream())
        .and(with(predictor))
        .then(|head: Head, body, predictor: Predictor| async move {
            let response = observed(&predictor, "/jobs", Some(&head.trace), submit(&head, body, &predictor)).await;
            identified(response, &head.trace)
        })
}

/// `GET /jobs/{id}`.
pub(super) fn get(predictor: Predictor) -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path!("jobs" / String).and(warp::get()).and(warp::query::<Query>()).and(with(predictor)).then(
        |id: String, query: Query, predictor: Predictor| async move {
            observed(&predictor, "/jobs/{id}", None, view(&id, &query, &predictor)).await
        },
    )
}

/// `DELETE /jobs/{id}`.
pub(super) fn delete(predictor: Predictor) -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path!("jobs" / String).and(warp::delete()).and(with(predictor)).then(
        |id: String, predictor: Predictor| async move {
            observed(&predictor, "/jobs/{id}", None, cancel(&id, &predictor)).await
        },
    )
}

async fn submit<S, B>(head: &Head, body: S, predictor: &Predictor) -> Route
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Unpin + 'static,
    B: Buf,
{
    let asked = match head.ask(body, Lane::Bulk, predictor).await {
        Ok(asked) => asked,
        Err(refusal) => return error::refused(&refusal),
    };
    match predictor.submit(asked.ask, asked.top_k).await {
        Ok(job) => {
            let location = HeaderValue::from_str(&format!("/jobs/{}", job.id));
            let mut response = json(StatusCode::ACCEPTED, &job);
            location.into_iter().for_each(|location| drop(response.headers_mut().insert(header::LOCATION, location)));
            response
        }
        Err(refusal) => error::refused(&refusal),
    }
}

async fn view(id: &str, query: &Query, predictor: &Predictor) -> Route {
    let found = async {
        let wait = number(query, "wait", LONGEST_WAIT)?.unwrap_or(0);
        predictor.job(&parse(id)?, Duration::from_secs(wait)).await
    };
    respond(found.await, StatusCode::OK)
}

async fn cancel(id: &str, predictor: &Predictor) -> Route {
    let cancelled = async { predictor.cancel(&parse(id)?).await };
    let cancelled = cancelled.await;
    let came_too_late = cancelled.as_ref().is_ok_and(|job| job.state != JobState::Cancelled);
    respond(cancelled, if came_too_late { StatusCode::CONFLICT } else { StatusCode::OK })
}

fn respond(job: Result<JobView, Failure>, status: StatusCode) -> Route {
    match job {
        Ok(job) => json(status, &job),
        Err(failure) => error::refused(&failure.into()),
    }
}

fn parse(id: &str) -> Result<JobId, Failure> {
    use shoal_shared::failure::FailureCode::NotFound;
    id.parse().map_err(|_| Failure::new(NotFound, format!("there is no job {id:?}")))
}
