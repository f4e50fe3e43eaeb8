//! What this gateway has answered of each model, in the terms of the Open Inference Protocol's
//! statistics extension: counts, and the nanoseconds that they took.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use shoal_shared::names::ModelName;

use crate::admission::Refusal;
use crate::predict::{Answered, Source};

/// How often something happened, and how long it took in all.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// Nanoseconds, summed.
    pub ns: u64,
}

impl Tally {
    fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.ns += (seconds * 1e9) as u64;
    }
}

/// Images of one batch size.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchTally {
    /// Images that were in such a batch.
    pub images: u64,
    /// Their decoding.
    pub input: Tally,
    /// The session's runs, as each image has seen them.
    pub infer: Tally,
    /// Storing their predictions.
    pub output: Tally,
}

/// One model.
#[derive(Debug, Clone, Default)]
pub struct ModelStatistics {
    /// When a prediction was answered last, Unix milliseconds.
    pub last: u64,
    /// Images answered.
    pub success: Tally,
    /// Images not answered.
    pub fail: Tally,
    /// Answered from a tier of the cache.
    pub cache_hit: Tally,
    /// Looked for there in vain, and computed.
    pub cache_miss: Tally,
    /// Waiting: in the stream, in the worker, or for somebody else's job. Those that did not wait
    /// count too: clients take this count for that of all requests.
    pub queue: Tally,
    /// By the size of the batch that computed them; the sizes are bounded by the largest batch.
    pub batches: BTreeMap<u16, BatchTally>,
}

impl ModelStatistics {
    /// Images computed by a worker for this gateway.
    pub fn inferences(&self) -> u64 {
        self.batches.values().map(|batch| batch.images).sum()
    }

    /// Runs of a session for them: an image in a batch of four is a quarter of one.
    pub fn executions(&self) -> u64 {
        let executions: f64 = self.batches.iter().map(|(size, batch)| batch.images as f64 / f64::from(*size)).sum();
        // What the sum of fractions is off by is no execution.
        (executions - 1e-6).ceil() as u64
    }

    fn record(&mut self, took: f64, answered: &Result<Answered, Refusal>) {
        let Ok(answered) = answered else { return self.fail.add(took) };
        self.last = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.success.add(took);
        let stage = |name| answered.stages.get(name);
        self.queue.add(stage("join") + stage("queue") + stage("fetch") + stage("batch_wait"));
        match (answered.source, &answered.served) {
            (Source::Hit | Source::Shared, _) => self.cache_hit.add(stage("cache")),
            (Source::Miss, Some(served)) => {
                self.cache_miss.add(stage("cache"));
                // A worker that found the prediction in the shared cache ran no session.
                if served.batch > 0 {
                    let batch = self.batches.entry(served.batch).or_default();
                    batch.images += 1;
                    batch.input.add(stage("decode"));
                    batch.infer.add(stage("infer"));
                    batch.output.add(stage("store"));
                }
            }
            (Source::Miss | Source::Coalesced, _) => {}
        }
    }
}

/// Every model that was asked for and exists.
#[derive(Default)]
pub struct Statistics(Mutex<HashMap<ModelName, ModelStatistics>>);

impl Statistics {
    /// One image was answered, or not. Only for models that exist: their number bounds the map.
    pub fn record(&self, model: &ModelName, took: Duration, answered: &Result<Answered, Refusal>) {
        let mut models = self.0.lock();
        match models.get_mut(model) {
            Some(known) => known.record(took.as_secs_f64(), answered),
            None => models.entry(model.clone()).or_default().record(took.as_secs_f64(), answered),
        }
    }

    /// One model's.
    pub fn of(&self, model: &ModelName) -> ModelStatistics {
        self.0.lock().get(model).cloned().unwrap_or_default()
    }
}
