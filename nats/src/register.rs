//! Asynchronous jobs by their id: what was accepted, so that any gateway can tell of it, wait for
//! it and cancel it.

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use serde::{Deserialize, Serialize};
use shoal_shared::names::{JobId, Lane, ModelName, Owner};

use crate::connect::{Bus, BusError};
use crate::listing::Stored;
use crate::topology::REGISTER;

/// What is known of an accepted job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its sequence in the jobs stream; 0 while it is being published.
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
    /// Digest of the image and what was asked of it, for those who submit a job twice.
    #[serde(default)]
    pub request: String,
    /// The job's name on the bus, where that is not the id that its owner knows it by.
    #[serde(default)]
    pub job: Option<JobId>,
}

/// Most jobs that one listing gives.
pub const MAX_LISTED: usize = 1000;

/// An id that was claimed, and not used yet.
#[derive(Debug, Clone, Copy)]
pub struct IdClaim(u64);

/// The bucket of accepted jobs. Cheap to clone.
#[derive(Clone)]
pub struct Register {
    bus: Bus,
    store: Store,
}

impl Register {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let store = bus.lookup(&format!("bucket {REGISTER}"), || bus.js.get_key_value(REGISTER)).await?;
        Ok(Self { bus: bus.clone(), store })
    }

    /// Claims an id; gives the claim, or nothing when the owner has a job of this id already.
    pub async fn claim(&self, owner: &Owner, id: &JobId, job: &Registered) -> Result<Option<IdClaim>, BusError> {
        let claimed = async {
            match self.store.create(key(owner, id), body(job).into()).await {
                Ok(revision) => Ok(Some(IdClaim(revision))),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(BusError::request("claiming a job's id", error)),
            }
        };
        self.bus.ask(claimed).await
    }

    /// Writes a job down. Accepted means: in the queue, and written down here.
    pub async fn write(&self, owner: &Owner, id: &JobId, job: &Registered) -> Result<(), BusError> {
        let written = self.store.put(key(owner, id), body(job).into()).await;
        written.map(drop).map_err(|error| BusError::request("writing an accepted job down", error))
    }

    /// Gives a claimed id back, unless a job was written down under it meanwhile.
    pub async fn give_back(&self, owner: &Owner, id: &JobId, IdClaim(revision): IdClaim) {
        if let Err(error) = self.store.purge_expect_revision(key(owner, id), Some(revision)).await {
            tracing::debug!(job = %id, %error, "a claimed id was not given back");
        }
    }

    /// Removes a job that was not accepted in the end.
    pub async fn forget(&self, owner: &Owner, id: &JobId) {
        if let Err(error) = self.store.purge(key(owner, id)).await {
            tracing::warn!(job = %id, %error, "the id of a job that was not accepted stays taken");
        }
    }

    /// Looks a job of an owner up.
    pub async fn find(&self, owner: &Owner, id: &JobId) -> Result<Option<Registered>, BusError> {
        let failed = |error| BusError::request("looking an accepted job up", error);
        let found = self.bus.ask(async { self.store.get(key(owner, id)).await.map_err(failed) }).await?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Jobs of an owner, oldest first.
    pub async fn list(&self, owner: &Owner) -> Result<Vec<(JobId, Registered)>, BusError> {
        let filter = format!("$KV.{REGISTER}.{owner}.*");
        let stored = self.bus.list(&format!("KV_{REGISTER}"), filter, MAX_LISTED).await?;
        let read = |record: &Stored| {
            let id = record.subject.rsplit('.').next()?.parse().ok()?;
            Some((id, serde_json::from_slice(&record.payload).ok()?))
        };
        Ok(stored.iter().filter_map(read).collect())
    }
}

fn key(owner: &Owner, id: &JobId) -> String {
    format!("{owner}.{id}")
}

fn body(job: &Registered) -> Vec<u8> {
    // Plain structs of numbers and strings always serialise.
    serde_json::to_vec(job).unwrap_or_default()
}
