//! Alive, and ready: the server as `/readyz` sees it, a model when a worker serves it or would be woken.

use serde::Serialize;
use shoal_shared::names::ModelName;
use warp::http::StatusCode;
use warp::reply::Response;

use super::VERSION;
use crate::http::{info, json};
use crate::predict::Predictor;

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a ModelName,
    version: &'static str,
    ready: bool,
}

pub(super) fn live() -> Response {
    json(StatusCode::OK, &Live { live: true })
}

pub(super) async fn ready(predictor: &Predictor) -> Response {
    let readiness = info::readiness(predictor).await;
    json(readiness.status(), &Ready { ready: readiness.ready })
}

pub(super) async fn model(name: &ModelName, predictor: &Predictor) -> Response {
    let ready = predictor.bus().is_up() && predictor.models().answers(name).await;
    let status = match ready {
        true => StatusCode::OK,
        false if predictor.models().provisioned().await.contains(name) => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::NOT_FOUND,
    };
    json(status, &ModelReady { name, version: VERSION, ready })
}
