//! The Open Inference Protocol, version 2, as KServe and Triton speak it over HTTP.
//!
//! | route | module |
//! | --- | --- |
//! | `GET /v2`, `/v2/models/{m}`, `…/config`, `POST /v2/repository/index` | [`metadata`] |
//! | `GET /v2/health/live`, `/v2/health/ready`, `/v2/models/{m}/ready` | [`health`] |
//! | `POST /v2/models/{m}/infer` | [`infer`] |
//! | `GET /v2/models/stats`, `/v2/models/{m}/stats` | [`statistics`] |
//!
//! Every `/v2/models/{m}` route also exists as `/v2/models/{m}/versions/1`: of each model one version
//! is served at a time.

mod call;
mod encoding;
mod flat;
mod health;
mod infer;
mod input;
mod metadata;
mod outputs;
mod parameters;
mod statistics;

use bytes::Buf;
use futures_util::Stream;
use serde::Serialize;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::ModelName;
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::path::Tail;

use super::request::{Head, bounds, head};
use super::{error, identified, json, observed, with};
use crate::admission::Refusal;
use crate::predict::Predictor;

type Route = warp::reply::Response;

/// The only version that a model has.
const VERSION: &str = "1";
/// Longest body of a request that is no inference.
const MAX_SMALL_BODY: usize = 64 * 1024;

/// `/v2` and everything below it.
pub(super) fn routes(predictor: Predictor) -> impl Filter<Extract = (Route,), Error = warp::Rejection> + Clone {
    warp::path("v2")
        .and(warp::path::tail())
        .and(warp::method())
        .and(head(predictor.clone()))
        .and(warp::body::stream())
        .and(with(predictor))
        .then(|path: Tail, method: Method, head: Head, body, predictor: Predictor| async move {
            let name = if path.as_str().ends_with("/infer") { "/v2/infer" } else { "/v2" };
            let answer = async {
                let asked = Asked { method, path: path.as_str(), head: &head };
                dispatch(asked, body, &predictor).await.unwrap_or_else(|refusal| refused(&refusal))
            };
            identified(observed(&predictor, name, Some(&head.trace), answer).await, &head.trace)
        })
}

struct Asked<'a> {
    method: Method,
    path: &'a str,
    head: &'a Head,
}

async fn dispatch<S, B>(asked: Asked<'_>, body: S, predictor: &Predictor) -> Result<Route, Refusal>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf,
{
    let segments: Vec<&str> = asked.path.split('/').filter(|segment| !segment.is_empty()).collect();
    let takes = |method: Method| if asked.method == method { Ok(()) } else { Err(wrong_method(&method)) };
    if let ["repository", "index"] = segments[..] {
        if let Err(response) = takes(Method::POST) {
            return Ok(response);
        }
        let bounds = super::upload::Bounds { max_bytes: MAX_SMALL_BODY, ..bounds(predictor) };
        let charge = predictor.admission().charge();
        let (body, _charge) = super::upload::receive_whole(asked.head.announced(), body, bounds, charge).await?;
        return Ok(metadata::index(&body, predictor).await?);
    }
    if let ["models", model, rest @ ..] = &segments[..]
        && let ["infer"] = without_version(model, rest)?
    {
        return match takes(Method::POST) {
            Ok(()) => infer::infer(asked.head, body, &name(model)?, predictor).await,
            Err(response) => Ok(response),
        };
    }
    if let Err(response) = takes(Method::GET) {
        return Ok(response);
    }
    match segments[..] {
        [] => Ok(metadata::server()),
        ["health", "live"] => Ok(health::live()),
        ["health", "ready"] => Ok(health::ready(predictor).await),
        ["models", "stats"] => Ok(statistics::all(predictor)),
        ["models", model, ref rest @ ..] => {
            let status = async { predictor.models().resolve(Some(&name(model)?)).await };
            match without_version(model, rest)? {
                [] => Ok(metadata::model(&status.await?)),
                ["config"] => Ok(metadata::config(&status.await?, predictor.config().batch.max_items)),
                ["ready"] => Ok(health::model(&name(model)?, predictor).await),
                ["stats"] => Ok(statistics::one(&status.await?, predictor)),
                _ => Err(no_route(asked.path)),
            }
        }
        _ => Err(no_route(asked.path)),
    }
}

/// What follows a model's name, its version left out.
fn without_version<'a, 'b>(model: &str, rest: &'a [&'b str]) -> Result<&'a [&'b str], Failure> {
    match rest {
        ["versions", VERSION, rest @ ..] => Ok(rest),
        ["versions", version, ..] => {
            let message = format!("model `{model}` has no version {version:?}: of each model version \"1\" is served");
            Err(Failure::new(FailureCode::NotFound, message))
        }
        rest => Ok(rest),
    }
}

fn name(model: &str) -> Result<ModelName, Failure> {
    model.parse().map_err(|error| Failure::new(FailureCode::UnknownModel, format!("no such model: {error}")))
}

fn no_route(path: &str) -> Refusal {
    Failure::new(FailureCode::NotFound, format!("there is no such route: /v2/{path}")).into()
}

/// The protocol's form of an error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

fn refused(refusal: &Refusal) -> Route {
    let failure = &refusal.failure;
    let status = StatusCode::from_u16(failure.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error::retry_after(json(status, &ErrorBody { error: &failure.message }), refusal)
}

fn wrong_method(right: &Method) -> Route {
    json(StatusCode::METHOD_NOT_ALLOWED, &ErrorBody { error: &format!("this route takes {right} only") })
}
