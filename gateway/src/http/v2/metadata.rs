//! What the server and its models say of themselves.
//!
//! A model's metadata has one input, the encoded image: it is what clients are to send. That the same
//! input also takes the model's own tensor is said beside it, under `parameters`.

use serde::{Deserialize, Serialize};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::ModelName;
use shoal_shared::prediction::MAX_TOP_K;
use shoal_shared::presence::ModelStatus;
use warp::http::StatusCode;
use warp::reply::Response;

use super::VERSION;
use super::outputs::Kind;
use crate::http::json;
use crate::predict::Predictor;

/// Name of the input of every model.
pub(super) const IMAGE: &str = "image";
/// What of the protocol's extensions is there.
const EXTENSIONS: [&str; 5] =
    ["classification", "model_configuration", "binary_tensor_data", "parameters", "statistics"];

#[derive(Serialize)]
struct Server {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 5],
}

pub(super) fn server() -> Response {
    let version = shoal_shared::process::VERSION;
    json(StatusCode::OK, &Server { name: "shoal", version, extensions: EXTENSIONS })
}

#[derive(Serialize)]
struct Model<'a> {
    name: &'a ModelName,
    versions: Vec<String>,
    platform: &'static str,
    inputs: [Tensor; 1],
    outputs: Vec<Tensor>,
    parameters: ModelParameters<'a>,
}

#[derive(Serialize)]
struct Tensor {
    name: &'static str,
    datatype: &'static str,
    shape: [i64; 2],
}

#[derive(Serialize)]
struct ModelParameters<'a> {
    /// Which weights, preprocessing and labels.
    digest: String,
    title: &'a str,
    classes: usize,
    max_top_k: usize,
    /// What the input takes instead of an encoded image.
    tensor: ModelTensor<'a>,
}

#[derive(Serialize)]
struct ModelTensor<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Vec<i64>,
}

pub(super) fn model(status: &ModelStatus, predictor: &Predictor) -> Response {
    let catalog = predictor.models().catalog();
    let pushed = match catalog.version_of(&status.name) {
        Some((_, version)) => Some(vec![version.to_string()]),
        None => catalog.record(&status.name).map(|record| record.versions.keys().map(ToString::to_string).collect()),
    };
    let tensor = ModelTensor {
        name: if status.input_name.is_empty() { IMAGE } else { &status.input_name },
        datatype: "FP32",
        shape: std::iter::once(-1).chain(status.input_shape.iter().copied()).collect(),
    };
    let parameters = ModelParameters {
        digest: status.digest.to_string(),
        title: &status.title,
        classes: status.classes,
        max_top_k: MAX_TOP_K.min(status.classes),
        tensor,
    };
    let output = |kind: Kind| Tensor { name: kind.name(), datatype: kind.datatype(), shape: [-1, -1] };
    let body = Model {
        name: &status.name,
        versions: pushed.unwrap_or_else(|| vec![VERSION.into()]),
        platform: "onnxruntime_onnx",
        inputs: [Tensor { name: IMAGE, datatype: "BYTES", shape: [-1, 1] }],
        outputs: Kind::ALL.map(output).into(),
        parameters,
    };
    json(StatusCode::OK, &body)
}

#[derive(Serialize)]
struct Config<'a> {
    name: &'a ModelName,
    platform: &'static str,
    backend: &'static str,
    /// Images in one request; how many share a run of the session is the workers' affair.
    max_batch_size: usize,
    input: [ConfigTensor; 1],
    output: Vec<ConfigTensor>,
    dynamic_batching: Batching,
}

#[derive(Serialize)]
struct ConfigTensor {
    name: &'static str,
    data_type: &'static str,
    dims: [i64; 1],
}

#[derive(Serialize)]
struct Batching {
    preferred_batch_size: [usize; 1],
}

pub(super) fn config(status: &ModelStatus, max_items: usize) -> Response {
    let output = |kind: Kind| ConfigTensor { name: kind.name(), data_type: kind.config_type(), dims: [-1] };
    let body = Config {
        name: &status.name,
        platform: "onnxruntime_onnx",
        backend: "onnxruntime",
        max_batch_size: max_items,
        input: [ConfigTensor { name: IMAGE, data_type: "TYPE_STRING", dims: [1] }],
        output: Kind::ALL.map(output).into(),
        dynamic_batching: Batching { preferred_batch_size: [status.max_batch] },
    };
    json(StatusCode::OK, &body)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Filter {
    /// Only what can be asked now.
    ready: bool,
}

#[derive(Serialize)]
struct Listed {
    name: ModelName,
    version: String,
    state: &'static str,
    reason: &'static str,
}

/// `POST /v2/repository/index`: every model that a queue or a worker knows.
pub(super) async fn index(body: &[u8], predictor: &Predictor) -> Result<Response, Failure> {
    let filter: Filter =
        if body.is_empty() { Ok(Filter::default()) } else { serde_json::from_slice(body) }.map_err(|error| {
            Failure::new(FailureCode::BadRequest, format!("the body is not {{\"ready\": bool}}: {error}"))
        })?;
    let mut names = predictor.models().provisioned().await;
    names.extend(predictor.models().fleet().models().into_iter().map(|model| model.name));
    let (models, catalog) = (predictor.models(), predictor.models().catalog());
    let listed = names.into_iter().filter_map(|served| {
        let (name, version) = match catalog.version_of(&served) {
            Some((model, version)) => (model, version.to_string()),
            // Its versions are listed, each for itself.
            None if catalog.record(&served).is_some() => return None,
            None => (served.clone(), VERSION.to_owned()),
        };
        Some(match predictor.bus().is_up() && models.can_answer(&served) {
            true => Listed { name, version, state: "READY", reason: "" },
            false => Listed { name, version, state: "UNAVAILABLE", reason: "no worker serves it" },
        })
    });
    let listed: Vec<_> = listed.filter(|model| !filter.ready || model.state == "READY").collect();
    Ok(json(StatusCode::OK, &listed))
}
