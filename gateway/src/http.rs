//! The HTTP front door: routes, and the server that carries them.
//!
//! | route | module |
//! | --- | --- |
//! | `POST /predict` | [`predict`] |
//! | `GET /predictions/{sha256}` | [`predict`] |
//! | `POST /jobs`, `GET` and `DELETE /jobs/{id}` | [`jobs`] |
//! | `GET /models`, `/models/{name}` | [`models`] |
//! | `GET /healthz`, `/readyz`, `/metrics` | [`info`] |
//! | `GET /api/bottleneck`, `/api/status`, `/api/targets` | [`info`] |
//! | `GET /`, `/assets/*`, `/samples/*` | [`page`] |

mod caching;
mod error;
mod info;
mod jobs;
mod models;
mod page;
mod predict;
mod request;
pub(crate) mod server;
mod upload;

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Instant;

use shoal_shared::trace::Trace;
use warp::http::{HeaderValue, Response, StatusCode, header};
use warp::{Filter, Reply};

use crate::predict::Predictor;
pub use server::{Serving, serve};

/// Query parameters, at most one value a name.
type Query = HashMap<String, String>;

/// Every route.
pub fn routes(
    predictor: Predictor,
    registry: prometheus::Registry,
) -> impl Filter<Extract = impl Reply, Error = Infallible> + Clone + Send + Sync + 'static {
    let api = predict::post(predictor.clone()).or(predict::known(predictor.clone())).unify();
    let jobs = jobs::post(predictor.clone())
        .or(jobs::get(predictor.clone()))
        .unify()
        .or(jobs::delete(predictor.clone()))
        .unify();
    let info = models::list(predictor.clone())
        .or(models::one(predictor.clone()))
        .unify()
        .or(info::healthz())
        .unify()
        .or(info::readyz(predictor.clone()))
        .unify()
        .or(info::metrics(predictor.clone(), registry))
        .unify()
        .or(info::bottleneck(predictor.clone()))
        .unify()
        .or(info::status(predictor.clone()))
        .unify()
        .or(info::targets(predictor.clone()))
        .unify();
    let page = page::routes().or(page::samples(predictor)).unify();
    api.boxed()
        .or(jobs.boxed())
        .unify()
        .or(info.boxed())
        .unify()
        .or(page.boxed())
        .unify()
        .recover(error::no_route)
        .unify()
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
