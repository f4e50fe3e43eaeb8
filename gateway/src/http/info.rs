//! What the gateway says of itself: models, health, readiness, metrics.

use serde::Serialize;
use shoal_shared::presence::{ModelStatus, WorkerStatus};
use warp::Filter;
use warp::http::{HeaderValue, StatusCode, header};

use super::{json, with};
use crate::predict::Predictor;

type Route = warp::reply::Response;

#[derive(Serialize)]
struct ModelList {
    models: Vec<ModelStatus>,
    workers: Vec<WorkerStatus>,
}

/// `GET /models`.
pub(super) fn models(predictor: Predictor) -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path!("models").and(warp::get()).and(with(predictor)).map(|predictor: Predictor| {
        let fleet = predictor.models().fleet();
        json(StatusCode::OK, &ModelList { models: fleet.models(), workers: fleet.workers() })
    })
}

/// `GET /healthz`: the process lives.
pub(super) fn healthz() -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path!("healthz").and(warp::get()).map(|| json(StatusCode::OK, &serde_json::json!({"status": "ok"})))
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    nats: bool,
    queue: bool,
    workers: usize,
}

/// `GET /readyz`: NATS is reachable, the queue is there, a worker takes jobs.
pub(super) fn readyz(predictor: Predictor) -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path!("readyz").and(warp::get()).and(with(predictor)).then(|predictor: Predictor| async move {
        let nats = predictor.bus().is_up();
        let queue = nats && predictor.bus().accepts_jobs().await;
        let workers = predictor.models().fleet().ready(None);
        let ready = queue && workers > 0;
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &Readiness { ready, nats, queue, workers })
    })
}

/// `GET /metrics`.
pub(super) fn metrics(
    predictor: Predictor,
    registry: prometheus::Registry,
) -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path!("metrics").and(warp::get()).and(with(predictor)).and(with(registry)).map(
        |predictor: Predictor, registry: prometheus::Registry| {
            let metrics = predictor.metrics();
            metrics.cache_bytes.set(predictor.memory().bytes() as i64);
            metrics.cache_entries.set(predictor.memory().len() as i64);
            metrics.workers_ready.set(predictor.models().fleet().ready(None) as i64);
            metrics.nats_up.set(i64::from(predictor.bus().is_up()));
            let mut response = Route::new(shoal_shared::metrics::render(&registry).into());
            let kind = HeaderValue::from_static(shoal_shared::metrics::CONTENT_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        },
    )
}
