//! Asynchronous jobs by their id: what was accepted, so that any gateway can tell of it, wait for
//! it and cancel it.

use async_nats::jetstream::kv::Store;
use serde::{Deserialize, Serialize};
use shoal_shared::names::{JobId, Lane, ModelName};

use crate::connect::{Bus, BusError};
use crate::topology::REGISTER;

/// What is known of an accepted job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its sequence in the jobs stream.
    pub sequence: u64,
    /// The model asked.
    pub model: ModelName,
    /// How urgent it is.
    pub lane: Lane,
    /// When it was accepted, Unix milliseconds.
    pub accepted: u64,
    /// When the answer stops being useful, Unix milliseconds.
    #[serde(default)]
    pub deadline: Option<u64>,
}

/// The bucket of accepted jobs. Cheap to clone.
#[derive(Clone)]
pub struct Register(Store);

impl Register {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        bus.lookup(&format!("bucket {REGISTER}"), || bus.js.get_key_value(REGISTER)).await.map(Self)
    }

    /// Writes a job down. Accepted means: in the queue, and written down here.
    pub async fn write(&self, id: &JobId, job: &Registered) -> Result<(), BusError> {
        let body = serde_json::to_vec(job).unwrap_or_default();
        let written = self.0.put(id.as_str(), body.into()).await;
        written.map(drop).map_err(|error| BusError::request("writing an accepted job down", error))
    }

    /// Looks a job up.
    pub async fn find(&self, id: &JobId) -> Result<Option<Registered>, BusError> {
        let found = self.0.get(id.as_str()).await;
        let found = found.map_err(|error| BusError::request("looking an accepted job up", error))?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}
