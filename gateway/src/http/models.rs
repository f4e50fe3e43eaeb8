//! `GET /models`, `GET /models/{name}`: what is served, in which versions, and how they fare. Changing that
//! is the `shoal models` command's.

use serde::Serialize;
use shoal_nats::describe::Description;
use shoal_shared::catalog::{CatalogRecord, Change, Share};
use shoal_shared::digest::ModelDigest;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::manifest::InputSpec;
use shoal_shared::names::{ModelName, Version};
use shoal_shared::presence::{HoldState, ModelStatus, WorkerStatus};
use warp::Filter;
use warp::http::StatusCode;

use super::{Route, any_of, error, json, with};
use crate::metrics::ShadowCounts;
use crate::models::choice::Candidate;
use crate::predict::Predictor;

#[derive(Serialize)]
struct ModelList {
    models: Vec<ModelStatus>,
    versions: Vec<ModelVersions>,
    workers: Vec<WorkerStatus>,
}

/// A model that was pushed.
#[derive(Serialize)]
struct ModelVersions {
    model: ModelName,
    live: Option<Version>,
    previous: Option<Version>,
    canary: Option<Share>,
    shadow: Option<Share>,
    versions: Vec<VersionView>,
}

#[derive(Serialize)]
struct VersionView {
    version: Version,
    /// The name of its queue, its workers and its metrics.
    served_as: ModelName,
    digest: ModelDigest,
    bytes: u64,
    /// Unix milliseconds.
    pushed: u64,
    role: Option<&'static str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    workers: usize,
    /// Milliseconds for an image at full speed; absent until a worker has measured it.
    image_ms: Option<f32>,
    /// Computed for this gateway since it started.
    answers: u64,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<ShadowCounts>,
}

#[derive(Serialize)]
struct ModelView {
    name: ModelName,
    version: Option<Version>,
    served_as: ModelName,
    digest: ModelDigest,
    title: String,
    description: String,
    licence: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    input: Option<InputView>,
    classes: usize,
    labels: Vec<String>,
    speed: Speed,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<ModelVersions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<Change>,
}

#[derive(Serialize)]
struct InputView {
    /// Without the batch axis.
    shape: Vec<i64>,
    max_batch: usize,
    #[serde(flatten)]
    spec: InputSpec,
}

#[derive(Serialize)]
struct Speed {
    workers: usize,
    image_ms: Option<f32>,
    images_per_second: f64,
}

/// Every route of models.
pub(super) fn routes(predictor: &Predictor) -> Route {
    any_of([list(predictor), one(predictor)])
}

/// `GET /models`.
fn list(predictor: &Predictor) -> Route {
    warp::path!("models")
        .and(warp::get())
        .and(with(predictor.clone()))
        .map(|predictor: Predictor| {
            let (fleet, records) = (predictor.models().fleet(), predictor.models().catalog().records());
            let versions = records.iter().map(|(model, record)| versions(&predictor, model, record)).collect();
            json(StatusCode::OK, &ModelList { models: fleet.models(), versions, workers: fleet.workers() })
        })
        .boxed()
}

/// `GET /models/{name}`; also by the name a version is served under.
fn one(predictor: &Predictor) -> Route {
    warp::path!("models" / String)
        .and(warp::get())
        .and(with(predictor.clone()))
        .then(|name: String, predictor: Predictor| async move {
            match view(&name, &predictor).await {
                Ok(view) => json(StatusCode::OK, &view),
                Err(failure) => error::response(&failure),
            }
        })
        .boxed()
}

async fn view(name: &str, predictor: &Predictor) -> Result<ModelView, Failure> {
    let bad = |error: String| Failure::new(FailureCode::BadRequest, error);
    let name: ModelName = name.parse().map_err(|error| bad(format!("{error}")))?;
    let Candidate { served, model, version, digest } = predictor.models().standing(Some(&name)).await?;
    let fleet = predictor.models().fleet();
    let told = if fleet.ready(Some(&served)) > 0 { predictor.bus().describe(&served).await } else { None };
    let status = fleet.model(&served);
    let record = predictor.models().catalog().record(&model);
    let (state, reason) = state(predictor, &served);
    let workers = fleet.workers_of(&served);
    let images_per_second = workers.iter().map(|worker| 1e3 / f64::from(worker.model.image_ms.max(1e-3))).sum();
    let input = told.as_ref().zip(status.as_ref()).map(|(told, status)| InputView {
        shape: status.input_shape.clone(),
        max_batch: status.max_batch,
        spec: told.manifest.input.clone(),
    });
    let text = |of: fn(&Description) -> &String| told.as_ref().map(|told| of(told).clone()).unwrap_or_default();
    Ok(ModelView {
        title: text(|told| &told.manifest.title),
        description: text(|told| &told.manifest.description),
        licence: text(|told| &told.manifest.licence),
        state,
        reason,
        input,
        classes: status.as_ref().map_or(0, |status| status.classes),
        speed: Speed { workers: workers.len(), image_ms: measured(status.as_ref()), images_per_second },
        versions: record.as_ref().map(|record| versions(predictor, &model, record)),
        log: record.map(|record| record.log.clone()).unwrap_or_default(),
        labels: told.map(|told| told.labels).unwrap_or_default(),
        name: model,
        version,
        served_as: served,
        digest,
    })
}

fn versions(predictor: &Predictor, model: &ModelName, record: &CatalogRecord) -> ModelVersions {
    let view = |version: &Version| {
        let served = model.served(version).ok()?;
        let pushed = record.versions.get(version)?;
        let (state, reason) = state(predictor, &served);
        let fleet = predictor.models().fleet();
        let (answers, errors) = predictor.metrics().rollout.answers(&served);
        let is_shadow = record.shadow.as_ref().is_some_and(|share| share.version == *version);
        Some(VersionView {
            version: version.clone(),
            digest: pushed.digest.clone(),
            bytes: pushed.bytes,
            pushed: pushed.at,
            role: record.role(version).map(|role| role.as_str()),
            state,
            reason,
            workers: fleet.ready(Some(&served)),
            image_ms: measured(fleet.model(&served).as_ref()),
            answers,
            errors,
            shadow: is_shadow.then(|| predictor.metrics().rollout.shadow(&served)),
            served_as: served,
        })
    };
    ModelVersions {
        model: model.clone(),
        live: record.live.clone(),
        previous: record.previous.clone(),
        canary: record.canary.clone(),
        shadow: record.shadow.clone(),
        versions: record.versions.keys().filter_map(view).collect(),
    }
}

/// Where a model stands in the fleet as a whole: as good as its best worker has it.
fn state(predictor: &Predictor, served: &ModelName) -> (&'static str, Option<String>) {
    let fleet = predictor.models().fleet();
    if fleet.ready(Some(served)) > 0 {
        return (HoldState::Ready.as_str(), None);
    }
    let workers = fleet.workers();
    let held = workers.iter().filter_map(|worker| worker.held(served)).min_by_key(|held| match held.state {
        HoldState::Ready => 0,
        HoldState::Loading => 1,
        HoldState::Unloaded => 2,
        HoldState::Draining => 3,
        HoldState::Waiting => 4,
        HoldState::Failed => 5,
    });
    match held {
        Some(held) => (held.state.as_str(), held.reason.clone()),
        None if predictor.models().can_answer(served) => ("asleep", None),
        None => ("absent", None),
    }
}

/// What a warm-up has measured.
fn measured(status: Option<&ModelStatus>) -> Option<f32> {
    status.map(|status| status.image_ms).filter(|ms| *ms > 0.0)
}
