//! What a job that came back has been through. The broker counts deliveries; a delivery to a worker
//! that drains, or dies over another job, is no attempt. Only redelivered jobs have a record, so a
//! job that is done at once costs nothing here.

use async_nats::jetstream::kv::Store;
use serde::{Deserialize, Serialize};

use crate::connect::{Bus, BusError};
use crate::topology::ATTEMPTS;

/// Attempts on one job that did not end well, so far as somebody could write them down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Times that a worker began to work on it, the first delivery among them.
    pub attempts: u32,
    /// The worker that began or failed last.
    pub worker: String,
    /// What it said; absent when it died before it could.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The bucket of records, by sequence in the jobs stream. Cheap to clone.
#[derive(Clone)]
pub struct Attempts(Store);

impl Attempts {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        bus.lookup(&format!("bucket {ATTEMPTS}"), || bus.js.get_key_value(ATTEMPTS)).await.map(Self)
    }

    /// The record of a job; `None` when nothing was written.
    pub async fn read(&self, sequence: u64) -> Result<Option<Record>, BusError> {
        let found = self.0.get(sequence.to_string()).await;
        let found = found.map_err(|error| BusError::request("reading a job's attempts", error))?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Writes a record down, before the attempt that it counts.
    pub async fn write(&self, sequence: u64, record: &Record) -> Result<(), BusError> {
        let body = serde_json::to_vec(record).unwrap_or_default();
        let written = self.0.put(sequence.to_string(), body.into()).await;
        written.map(drop).map_err(|error| BusError::request("writing a job's attempts", error))
    }

    /// The job has ended. A record that stays behind goes by age.
    pub async fn forget(&self, sequence: u64) {
        if let Err(error) = self.0.purge(sequence.to_string()).await {
            tracing::debug!(sequence, %error, "a job's attempts were not forgotten");
        }
    }
}
