//! The JSON form of an outcome, the same over HTTP, NATS requests and the results stream.

use serde::{Deserialize, Serialize};

use crate::attribution::StageTimes;
use crate::failure::Failure;
use crate::interned::Interned;
use crate::names::{ModelName, Version};
use crate::prediction::{Class, DEFAULT_TOP_K, MAX_TOP_K, Outcome, Prediction, Served, Timings};

/// What a client reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// A prediction.
    Success(Box<Success>),
    /// Why there is none.
    Error(ErrorBody),
}

/// The body of a successful answer. Optional fields are absent where they make no sense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Success {
    /// Always `true`.
    pub success: bool,
    /// The most probable label.
    pub prediction: Interned,
    /// Its probability, rounded to four places.
    pub score: f64,
    /// The most probable classes.
    pub top: Vec<Class>,
    /// The model that answered.
    pub model: String,
    /// Its version, when it was pushed with one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model_version: Option<String>,
    /// Which weights and preprocessing.
    pub model_digest: String,
    /// The job, when one ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<String>,
    /// MD5 of the upload and its usual extension, as the systems replaced named it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image_file_name: Option<String>,
    /// SHA-256 of the upload.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image_sha256: Option<String>,
    /// `hit`, `shared`, `coalesced` or `miss`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache: Option<String>,
    /// The worker that answered, when one did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<String>,
    /// Images in the batch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<u16>,
    /// Where the time went.
    pub timing_ms: TimingMs,
}

/// Durations in milliseconds; a stage that did not happen is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimingMs {
    /// Reading the request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<f64>,
    /// Hashing it on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<f64>,
    /// Looking into both tiers of the cache, and admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<f64>,
    /// Waiting for somebody else's job of the same image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<f64>,
    /// Until the broker acknowledged the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<f64>,
    /// In the stream, until a worker had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<f64>,
    /// Waiting for a decode thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<f64>,
    /// From encoded bytes to the model's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<f64>,
    /// Waiting for the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_wait: Option<f64>,
    /// The session's run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infer: Option<f64>,
    /// Storing the prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<f64>,
    /// The answer's way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<f64>,
    /// The whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
}

impl TimingMs {
    /// The stages that are known, by name, in the order of the path.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let stages = [
            ("receive", self.receive),
            ("hash", self.hash),
            ("cache", self.cache),
            ("join", self.join),
            ("publish", self.publish),
            ("queue", self.queue),
            ("fetch", self.fetch),
            ("decode", self.decode),
            ("batch_wait", self.batch_wait),
            ("infer", self.infer),
            ("store", self.store),
            ("reply", self.reply),
            ("total", self.total),
        ];
        stages.into_iter().filter_map(|(name, ms)| Some((name, ms?)))
    }

    /// Every stage that happened, of a prediction whose whole time is known.
    pub fn of_stages(stages: &StageTimes, total: f64) -> Self {
        let ms = |seconds: f64| Some((seconds * 1e6).round() / 1e3);
        let stage = |name: &str| Some(stages.get(name)).filter(|seconds| *seconds > 0.0).and_then(ms);
        Self {
            receive: stage("receive"),
            hash: stage("hash"),
            cache: stage("cache"),
            join: stage("join"),
            publish: stage("publish"),
            queue: stage("queue"),
            fetch: stage("fetch"),
            decode: stage("decode"),
            batch_wait: stage("batch_wait"),
            infer: stage("infer"),
            store: stage("store"),
            reply: stage("reply"),
            total: ms(total),
        }
    }

    /// The worker's part.
    pub fn of_worker(timings: &Timings) -> Self {
        let ms = |us: u32| Some(f64::from(us) / 1e3);
        Self {
            queue: ms(timings.queue),
            fetch: ms(timings.fetch),
            decode: ms(timings.decode),
            batch_wait: ms(timings.batch_wait),
            infer: ms(timings.infer),
            store: ms(timings.store),
            ..Self::default()
        }
    }
}

/// Body of every error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Always `false`.
    pub success: bool,
    /// Code and sentence.
    pub error: Failure,
    /// The sentence again, where clients of the systems replaced look for it.
    pub detail: String,
    /// The job, when one ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<String>,
}

impl Success {
    /// The answer that lists `top_k` classes.
    pub fn of(prediction: &Prediction, top_k: Option<usize>) -> Self {
        let count = top_k.unwrap_or(DEFAULT_TOP_K).clamp(1, MAX_TOP_K);
        let top: Vec<Class> = prediction.top.iter().take(count).cloned().collect();
        let (label, score) = top.first().map_or((Interned::default(), 0.0), |best| (best.label.clone(), best.score));
        Self {
            success: true,
            prediction: label,
            score: round(f64::from(score), 4),
            top,
            model: prediction.model.to_string(),
            model_version: None,
            model_digest: prediction.digest.to_string(),
            job: None,
            image_file_name: None,
            image_sha256: None,
            cache: None,
            worker: None,
            batch: None,
            timing_ms: TimingMs::default(),
        }
    }

    /// Names the model as clients do, with the version that answered.
    pub fn named(mut self, model: &ModelName, version: Option<&Version>) -> Self {
        self.model = model.to_string();
        self.model_version = version.map(Version::to_string);
        self
    }

    /// Adds who served it.
    pub fn served(mut self, served: &Served) -> Self {
        self.worker = Some(served.worker.clone());
        self.batch = Some(served.batch);
        self.timing_ms = TimingMs::of_worker(&served.timings);
        self
    }
}

impl ErrorBody {
    /// The body for `failure`.
    pub fn of(failure: &Failure) -> Self {
        Self { success: false, detail: failure.message.clone(), error: failure.clone(), job: None }
    }
}

impl Answer {
    /// The answer to an asynchronous job.
    pub fn of(outcome: &Outcome, top_k: Option<usize>) -> Self {
        let job = Some(outcome.job.to_string());
        match &outcome.result {
            Ok(prediction) => {
                let success = Success::of(prediction, top_k).served(&outcome.served);
                Answer::Success(Box::new(Success { job, ..success }))
            }
            Err(failure) => Answer::Error(ErrorBody { job, ..ErrorBody::of(failure) }),
        }
    }

    /// Names the model as clients do, with the version that answered.
    pub fn named(self, model: &ModelName, version: Option<&Version>) -> Self {
        match self {
            Answer::Success(success) => Answer::Success(Box::new(success.named(model, version))),
            error => error,
        }
    }

    /// As JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain structs of numbers and strings always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn round(value: f64, places: i32) -> f64 {
    let factor = 10f64.powi(places);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ModelDigest;
    use crate::failure::FailureCode;
    use crate::manifest::Manifest;
    use crate::names::JobId;

    fn outcome(result: Result<Prediction, Failure>) -> Outcome {
        let served = Served { worker: "w".into(), batch: 2, attempt: 1, timings: Timings::default() };
        Outcome { job: JobId::from_sequence(42), result, served }
    }

    #[test]
    fn a_prediction_and_its_top_k() {
        let manifest = Manifest::parse("name = \"m\"\nfile = \"m.onnx\"\n").unwrap();
        let top = (0..10)
            .map(|i| Class { label: format!("l{i}").into(), index: i, score: 0.966_14 / (i + 1) as f32 })
            .collect();
        let digest = ModelDigest::of(b"", &manifest, &[]);
        let prediction = Prediction { model: manifest.name, digest, top, infer_us: 5, computed_at: 0 };
        let json: serde_json::Value =
            serde_json::from_slice(&Answer::of(&outcome(Ok(prediction)), Some(3)).to_json()).unwrap();
        assert_eq!(json["success"], true);
        assert_eq!(json["prediction"], "l0");
        assert_eq!(json["score"], 0.9661);
        assert_eq!(json["job"], "42");
        assert_eq!(json["top"].as_array().unwrap().len(), 3);
        assert!(json.get("cache").is_none());
    }

    #[test]
    fn an_error_carries_code_sentence_and_detail() {
        let failure = Failure::new(FailureCode::NotAnImage, "no image");
        let json: serde_json::Value =
            serde_json::from_slice(&Answer::of(&outcome(Err(failure)), None).to_json()).unwrap();
        assert_eq!(json["error"]["code"], "not_an_image");
        assert_eq!(json["detail"], "no image");
        assert_eq!(json["success"], false);
    }
}
