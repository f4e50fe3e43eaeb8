//! The Open Inference Protocol, version 2, as KServe and Triton speak it over HTTP.
//!
//! | route | module |
//! | --- | --- |
//! | `GET /v2`, `/v2/models/{m}`, `…/config`, `POST /v2/repository/index` | [`metadata`] |
//! | `GET /v2/health/live`, `/v2/health/ready`, `/v2/models/{m}/ready` | [`health`] |
//! | `POST /v2/models/{m}/infer` | [`infer`] |
//! | `GET /v2/models/stats`, `/v2/models/{m}/stats` | [`statistics`] |
//!
//! Every `/v2/models/{m}` route also exists as `/v2/models/{m}/versions/{v}`. A model that was never pushed
//! with a version has version 1.

mod call;
mod encoded;
mod encoding;
mod flat;
mod health;
mod infer;
mod input;
mod metadata;
mod outputs;
mod parameters;
mod statistics;
mod target;
mod tensors;

use bytes::Buf;
use futures_util::Stream;
use serde::Serialize;
use shoal_shared::failure::Failure;
use shoal_shared::names::ModelName;
use shoal_shared::presence::ModelStatus;
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::path::Tail;
use warp::reply::Response;

use super::request::{Head, bounds, head};
use super::upload::{Bounds, receive_whole};
use super::{Route, error, identified, json, observed, with};
use crate::admission::Refusal;
use crate::predict::Predictor;
use target::{Of, Target, VERSION};

/// Longest body of a request that is no inference.
const MAX_SMALL_BODY: usize = 64 * 1024;

/// `/v2` and everything below it.
pub(super) fn routes(predictor: &Predictor) -> Route {
    warp::path("v2")
        .and(warp::path::tail())
        .and(warp::method())
        .and(head(predictor.clone()))
        .and(warp::body::stream())
        .and(with(predictor.clone()))
        .then(|path: Tail, method: Method, head: Head, body, predictor: Predictor| async move {
            let name = if path.as_str().ends_with("/infer") { "/v2/infer" } else { "/v2" };
            let answer = async {
                let asked = Asked { method, path: path.as_str(), head: &head };
                dispatch(asked, body, &predictor).await.unwrap_or_else(|refusal| refused(&refusal))
            };
            identified(observed(&predictor, name, Some(&head.trace), answer).await, &head.trace)
        })
        .boxed()
}

struct Asked<'a> {
    method: Method,
    path: &'a str,
    head: &'a Head,
}

async fn dispatch<S, B>(asked: Asked<'_>, body: S, predictor: &Predictor) -> Result<Response, Refusal>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf,
{
    let target = Target::read(asked.path)?;
    if asked.method != target.method() {
        return Ok(wrong_method(&target.method()));
    }
    match target {
        Target::Server => Ok(metadata::server()),
        Target::Live => Ok(health::live()),
        Target::Ready => Ok(health::ready(predictor).await),
        Target::Statistics => Ok(statistics::all(predictor)),
        Target::Index => {
            let bounds = Bounds { max_bytes: MAX_SMALL_BODY, ..bounds(predictor) };
            let charge = predictor.admission().charge();
            let (body, _charge) = receive_whole(asked.head.announced(), body, bounds, charge).await?;
            Ok(metadata::index(&body, predictor).await?)
        }
        Target::Model(name, version, Of::Infer) => {
            let name = served(name, version, predictor).await?;
            infer::infer(asked.head, body, &name, predictor).await
        }
        Target::Model(name, version, Of::Ready) => {
            let name = served(name, version, predictor).await?;
            Ok(health::model(&name, predictor).await)
        }
        Target::Model(name, version, of) => {
            let name = served(name, version, predictor).await?;
            let status = ModelStatus { name: name.clone(), ..predictor.models().resolve(Some(&name)).await? };
            Ok(match of {
                Of::Config => metadata::config(&status, predictor.config().batch.max_items),
                Of::Statistics => statistics::one(&status, predictor),
                _ => metadata::model(&status, predictor),
            })
        }
    }
}

/// The name that a version is served under. Clients of the protocol call the one version of a model 1.
async fn served(name: ModelName, version: Option<String>, predictor: &Predictor) -> Result<ModelName, Failure> {
    let models = predictor.models();
    let is_only = version.as_deref() == Some(VERSION) && models.catalog().record(&name).is_none();
    let version = version.filter(|_| !is_only);
    Ok(models.versioned(Some(name.clone()), version.as_deref()).await?.unwrap_or(name))
}

/// The protocol's form of an error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// A refusal in the protocol's form.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let failure = &refusal.failure;
    let status = StatusCode::from_u16(failure.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error::retry_after(json(status, &ErrorBody { error: &failure.message }), refusal)
}

fn wrong_method(right: &Method) -> Response {
    json(StatusCode::METHOD_NOT_ALLOWED, &ErrorBody { error: &format!("this route takes {right} only") })
}
