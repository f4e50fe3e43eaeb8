//! The statistics extension: what this gateway has answered of each model since it started.

use serde::Serialize;
use shoal_shared::names::ModelName;
use shoal_shared::presence::ModelStatus;
use warp::http::StatusCode;
use warp::reply::Response;

use super::VERSION;
use crate::http::json;
use crate::predict::Predictor;
use crate::statistics::{ModelStatistics, Tally};

#[derive(Serialize)]
struct Body {
    model_stats: Vec<Model>,
}

#[derive(Serialize)]
struct Model {
    name: ModelName,
    version: &'static str,
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: Inference,
    batch_stats: Vec<Batch>,
    memory_usage: [(); 0],
}

#[derive(Serialize)]
struct Inference {
    success: Tally,
    fail: Tally,
    queue: Tally,
    compute_input: Tally,
    compute_infer: Tally,
    compute_output: Tally,
    cache_hit: Tally,
    cache_miss: Tally,
}

#[derive(Serialize)]
struct Batch {
    batch_size: u16,
    compute_input: Tally,
    compute_infer: Tally,
    compute_output: Tally,
}

pub(super) fn one(status: &ModelStatus, predictor: &Predictor) -> Response {
    json(StatusCode::OK, &Body { model_stats: vec![model(status, predictor)] })
}

pub(super) fn all(predictor: &Predictor) -> Response {
    let models = predictor.models().fleet().models();
    json(StatusCode::OK, &Body { model_stats: models.iter().map(|status| model(status, predictor)).collect() })
}

fn model(status: &ModelStatus, predictor: &Predictor) -> Model {
    let statistics = predictor.statistics().of(&status.name);
    Model {
        name: status.name.clone(),
        version: VERSION,
        last_inference: statistics.last,
        inference_count: statistics.inferences(),
        execution_count: statistics.executions(),
        inference_stats: inference(&statistics),
        batch_stats: batches(&statistics),
        memory_usage: [],
    }
}

fn inference(statistics: &ModelStatistics) -> Inference {
    let sum = |of: fn(&crate::statistics::BatchTally) -> Tally| {
        let tallies = statistics.batches.values().map(of);
        tallies.fold(Tally::default(), |sum, tally| Tally { count: sum.count + tally.count, ns: sum.ns + tally.ns })
    };
    Inference {
        success: statistics.success,
        fail: statistics.fail,
        queue: statistics.queue,
        compute_input: sum(|batch| batch.input),
        compute_infer: sum(|batch| batch.infer),
        compute_output: sum(|batch| batch.output),
        cache_hit: statistics.cache_hit,
        cache_miss: statistics.cache_miss,
    }
}

fn batches(statistics: &ModelStatistics) -> Vec<Batch> {
    let batch = |(size, batch): (&u16, &crate::statistics::BatchTally)| Batch {
        batch_size: *size,
        compute_input: batch.input,
        compute_infer: batch.infer,
        compute_output: batch.output,
    };
    statistics.batches.iter().map(batch).collect()
}
