//! What a model says about an image.

use serde::{Deserialize, Serialize};

use crate::digest::ModelDigest;
use crate::interned::Interned;
use crate::names::{JobId, ModelName};

/// Most classes a prediction carries, and so the largest `top_k`. Twenty keep an entry of the
/// cache near half a kilobyte.
pub const MAX_TOP_K: usize = 20;

/// Classes listed when nobody says otherwise.
pub const DEFAULT_TOP_K: usize = 5;

/// One class with its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Human-readable name.
    pub label: Interned,
    /// Index in the model's output.
    pub index: u32,
    /// Probability, 0 to 1.
    pub score: f32,
}

/// A model's answer: the best classes, the most probable first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The model that answered.
    pub model: ModelName,
    /// Which weights, preprocessing and labels those were.
    pub digest: ModelDigest,
    /// Up to [`MAX_TOP_K`] classes, never empty.
    pub top: Vec<Class>,
    /// Time the network took for this image: its share of the batch, microseconds.
    pub infer_us: u32,
    /// When it was computed, Unix milliseconds.
    pub computed_at: u64,
}

/// Where a job spent its time inside the worker, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From the publish to the arrival at a worker.
    pub queue: u32,
    /// Waiting for a decode thread, and fetching the image when it travelled as an object.
    pub fetch: u32,
    /// Encoded bytes to model input.
    pub decode: u32,
    /// Waiting for the session, and for the batch to form.
    pub batch_wait: u32,
    /// The session's run of the whole batch.
    pub infer: u32,
    /// Storing the prediction before the answer leaves.
    pub store: u32,
}

/// Who answered a job, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The worker's id.
    pub worker: String,
    /// How many images shared the session's run; 0 when the cache answered.
    pub batch: u16,
    /// Deliveries of this job so far, 1 being the first.
    pub attempt: u16,
    /// Where the time went.
    pub timings: Timings,
}

/// The final word on a job: exactly one exists for every accepted job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The job.
    pub job: JobId,
    /// The answer, or why there is none.
    pub result: Result<Prediction, crate::failure::Failure>,
    /// How it was served.
    pub served: Served,
}
