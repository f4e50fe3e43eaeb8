//! Failures as HTTP responses: one body, one table of statuses.

use std::convert::Infallible;

use shoal_shared::answer::ErrorBody;
use shoal_shared::failure::{Failure, FailureCode};
use warp::Rejection;
use warp::http::{HeaderValue, StatusCode, header};

use super::json;
use crate::admission::Refusal;

/// The response for a failure.
pub(super) fn response(failure: &Failure) -> warp::reply::Response {
    let status = StatusCode::from_u16(failure.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &ErrorBody::of(failure))
}

/// The response for a refusal.
pub(super) fn refused(refusal: &Refusal) -> warp::reply::Response {
    retry_after(response(&refusal.failure), refusal)
}

/// `Retry-After` says when a refusal passes, in whole seconds, rounded up.
pub(super) fn retry_after(mut response: warp::reply::Response, refusal: &Refusal) -> warp::reply::Response {
    if let Some(after) = refusal.retry_after {
        let seconds = after.as_secs_f64().ceil().clamp(1.0, 600.0) as u64;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The response for an image that got no prediction: old clients look for the fields of an answer.
pub(super) fn not_predicted(refusal: &Refusal) -> warp::reply::Response {
    #[derive(serde::Serialize)]
    struct Body {
        #[serde(flatten)]
        error: ErrorBody,
        prediction: Option<String>,
        score: Option<f64>,
    }
    let whole = refused(refusal);
    let body = Body { error: ErrorBody::of(&refusal.failure), prediction: None, score: None };
    let mut response = json(whole.status(), &body);
    *response.headers_mut() = whole.headers().clone();
    response
}

/// No route matched, or none with this method.
pub(super) async fn no_route(rejection: Rejection) -> Result<warp::reply::Response, Infallible> {
    if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        return Ok(response(&Failure::new(FailureCode::MethodNotAllowed, "this route does not take this method")));
    }
    if rejection.find::<warp::reject::InvalidQuery>().is_some() {
        return Ok(response(&Failure::new(FailureCode::BadRequest, "the query string is malformed")));
    }
    if rejection.is_not_found() {
        return Ok(response(&Failure::new(FailureCode::NotFound, "there is no such route")));
    }
    Ok(response(&Failure::new(FailureCode::BadRequest, "the request is malformed")))
}
