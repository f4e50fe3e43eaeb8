//! What the gateway says of itself: health, readiness, metrics, targets.

use serde::Serialize;
use shoal_shared::metrics::scrape;
use shoal_shared::presence::WorkerStatus;
use warp::Filter;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::{Route, any_of, json, with};
use crate::predict::Predictor;

/// Every route of these.
pub(super) fn routes(predictor: &Predictor, registry: prometheus::Registry) -> Route {
    any_of([
        healthz(),
        readyz(predictor),
        metrics(predictor, registry),
        bottleneck(predictor),
        status(predictor),
        targets(predictor),
    ])
}

/// `GET /healthz`: the process lives.
fn healthz() -> Route {
    warp::path!("healthz").and(warp::get()).map(|| json(StatusCode::OK, &serde_json::json!({"status": "ok"}))).boxed()
}

/// Whether predictions can be answered, and what is missing.
#[derive(Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    nats: bool,
    queue: bool,
    workers: usize,
}

/// `GET /readyz`: NATS is reachable, the queue is there, a worker takes jobs.
fn readyz(predictor: &Predictor) -> Route {
    warp::path!("readyz")
        .and(warp::get())
        .and(with(predictor.clone()))
        .then(|predictor: Predictor| async move {
            let readiness = readiness(&predictor).await;
            json(readiness.status(), &readiness)
        })
        .boxed()
}

/// Looks at everything that a prediction needs.
pub(super) async fn readiness(predictor: &Predictor) -> Readiness {
    let nats = predictor.bus().is_up();
    let queue = nats && predictor.bus().accepts_jobs().await;
    let workers = predictor.models().fleet().ready(None);
    Readiness { ready: queue && workers > 0, nats, queue, workers }
}

impl Readiness {
    pub(super) fn status(&self) -> StatusCode {
        if self.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

/// `GET /metrics`.
fn metrics(predictor: &Predictor, registry: prometheus::Registry) -> Route {
    let accept = warp::header::optional::<String>("accept");
    warp::path!("metrics")
        .and(warp::get())
        .and(accept)
        .and(with(predictor.clone()))
        .and(with(registry))
        .map(|accept: Option<String>, predictor: Predictor, registry: prometheus::Registry| {
            let metrics = predictor.metrics();
            let (entries, bytes) = predictor.memory().size();
            metrics.cache_entries.set(entries as i64);
            metrics.cache_bytes.set(bytes as i64);
            metrics.nats_up.set(i64::from(predictor.bus().is_up()));
            let scrape = scrape(&registry, Some(&metrics.exemplars), accept.as_deref());
            let mut response = Response::new(scrape.body.into());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(scrape.content_type));
            response
        })
        .boxed()
}

/// `GET /api/bottleneck`: which part's saturation explains the delay, and what would help.
fn bottleneck(predictor: &Predictor) -> Route {
    warp::path!("api" / "bottleneck")
        .and(warp::get())
        .and(with(predictor.clone()))
        .map(|predictor: Predictor| json(StatusCode::OK, &predictor.report()))
        .boxed()
}

/// `GET /api/status`: everything that is worth a look.
fn status(predictor: &Predictor) -> Route {
    warp::path!("api" / "status")
        .and(warp::get())
        .and(with(predictor.clone()))
        .map(|predictor: Predictor| json(StatusCode::OK, &predictor.status()))
        .boxed()
}

/// One entry of Prometheus's HTTP service discovery.
#[derive(Serialize)]
struct Target {
    targets: Vec<String>,
    labels: Labels,
}

#[derive(Serialize)]
struct Labels {
    job: &'static str,
}

/// `GET /api/targets`: this gateway and every worker, for Prometheus's HTTP service discovery.
fn targets(predictor: &Predictor) -> Route {
    let host = warp::header::optional::<String>("host");
    warp::path!("api" / "targets")
        .and(warp::get())
        .and(host)
        .and(with(predictor.clone()))
        .map(|host: Option<String>, predictor: Predictor| {
            let itself = host.unwrap_or_else(|| predictor.config().listen.to_string());
            let workers = predictor.models().fleet().workers();
            let gateway = Target { targets: vec![itself], labels: Labels { job: "shoal-gateway" } };
            let worker =
                Target { targets: workers.iter().map(reachable).collect(), labels: Labels { job: "shoal-worker" } };
            json(StatusCode::OK, &[gateway, worker])
        })
        .boxed()
}

/// Where a worker's metrics are: on its host, when it listens on every address there.
fn reachable(worker: &WorkerStatus) -> String {
    match worker.admin.rsplit_once(':') {
        Some(("0.0.0.0" | "[::]", port)) => format!("{}:{port}", worker.host),
        _ => worker.admin.clone(),
    }
}
