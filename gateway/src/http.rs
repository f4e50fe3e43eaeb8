//! The HTTP front door: routes, and the server that carries them.
//!
//! | route | module |
//! | --- | --- |
//! | `POST /predict`, `GET /predictions/{sha256}` | [`predict`] |
//! | `POST /predict/batch` | [`batch`] |
//! | `/v2/*` | [`v2`] |
//! | `/jobs`, `/jobs/{id}`, `/webhooks/secret` | [`jobs`] |
//! | `GET /jobs/{id}/events` | [`events`] |
//! | `POST /login`, `/user`, `/keys`, `GET /api/session` | [`account`] |
//! | `/feedback`, `GET /display/{name}` | [`feedback`] |
//! | `POST /model/predict`, `POST /` | [`classic`] |
//! | `GET /models`, `/models/{name}` | [`models`] |
//! | `GET /healthz`, `/readyz`, `/metrics` | [`info`] |
//! | `GET /api/bottleneck`, `/api/status`, `/api/targets` | [`info`] |
//! | `GET /openapi.json` | [`openapi`] |
//! | `GET /`, `/assets/*`, `/samples/*` | [`page`] |
//!
//! Every request comes in through the [`door`].

mod account;
mod batch;
mod body;
mod caching;
mod classic;
pub(crate) mod door;
mod error;
mod events;
mod feedback;
mod info;
mod jobs;
mod models;
mod openapi;
mod pacing;
mod page;
mod predict;
mod request;
pub(crate) mod server;
mod spelling;
pub(crate) mod tls;
mod upload;
mod v2;

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Instant;

use shoal_shared::trace::Trace;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Response, StatusCode, header};
use warp::{Filter, Reply};

use crate::accounts::Accounts;
use crate::keeper::Keeper;
use crate::predict::Predictor;
pub(crate) use server::{Serving, serve};

/// Query parameters, at most one value a name.
type Query = HashMap<String, String>;

/// What the routes answer from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Front {
    /// Predictions and jobs.
    pub(crate) predictor: Predictor,
    /// Who asks.
    pub(crate) accounts: Accounts,
    /// Images that are kept.
    pub(crate) keeper: Keeper,
}

/// A route, or several: what it is made of is nobody's concern.
type Route = BoxedFilter<(warp::reply::Response,)>;

/// Every route. Those that are asked most come first.
pub(crate) fn routes(
    front: &Front,
    registry: prometheus::Registry,
) -> impl Filter<Extract = impl Reply, Error = Infallible> + Clone + Send + Sync + 'static {
    let predictor = &front.predictor;
    let all = [
        predict::post(front),
        predict::known(predictor),
        batch::post(predictor),
        v2::routes(predictor),
        jobs::routes(front),
        models::routes(predictor),
        info::routes(predictor, registry),
        account::routes(front),
        feedback::routes(front),
        classic::routes(front),
        openapi::routes(),
        page::routes(predictor),
    ];
    any_of(all).recover(error::no_route).unify()
}

/// The first of these that takes a request answers it.
fn any_of<const N: usize>(routes: [Route; N]) -> Route {
    let no_route = warp::any().and_then(async || Err(warp::reject())).boxed();
    routes.into_iter().rev().fold(no_route, |others, route| route.or(others).unify().boxed())
}

/// Hands a dependency to a handler.
fn with<T: Clone + Send>(value: T) -> impl Filter<Extract = (T,), Error = Infallible> + Clone {
    warp::any().map(move || value.clone())
}

/// Counts and times a request under its route's name, never under its path.
async fn observed<F>(
    predictor: &Predictor,
    route: &'static str,
    trace: Option<&Trace>,
    answer: F,
) -> warp::reply::Response
where
    F: Future<Output = warp::reply::Response>,
{
    let begun = Instant::now();
    let response = answer.await;
    let (metrics, took) = (predictor.metrics(), begun.elapsed());
    if let Some(trace) = trace {
        let (request_id, status) = (trace.request_id(), response.status().as_u16());
        tracing::debug!(request.id = request_id, route, status, ?took, "request answered");
        if trace.sampled {
            metrics.exemplars.record(route, took, &trace.trace_id());
        }
    }
    metrics.requests.with_label_values(&[route, response.status().as_str()]).inc();
    metrics.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    response
}

/// Says by what id the request is found in logs and traces.
fn identified(mut response: warp::reply::Response, trace: &Trace) -> warp::reply::Response {
    if let Ok(id) = HeaderValue::from_str(&trace.request_id()) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// A JSON response.
fn json(status: StatusCode, body: &impl serde::Serialize) -> warp::reply::Response {
    // Plain structs of numbers and strings always serialise.
    let mut response = Response::new(serde_json::to_vec(body).unwrap_or_default().into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
