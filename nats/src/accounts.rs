//! Accounts, keys and the signing secret: small JSON records under keys, changed by compare and
//! swap, so that there is no further server to run. What they mean is the gateway's business.

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connect::{Bus, BusError};
use crate::topology::ACCOUNTS;

/// Most records that one listing gives.
const MAX_LISTED: usize = 10_000;

/// The bucket of accounts. Cheap to clone.
#[derive(Clone)]
pub struct AccountStore {
    bus: Bus,
    store: Store,
}

/// A record, with what is needed to change it.
#[derive(Debug, Clone)]
pub struct Versioned<T> {
    /// What it says.
    pub value: T,
    /// Which state of the record this is.
    pub revision: u64,
}

impl AccountStore {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let store = bus.lookup(&format!("bucket {ACCOUNTS}"), || bus.js.get_key_value(ACCOUNTS)).await?;
        Ok(Self { bus: bus.clone(), store })
    }

    /// The record under a key.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, BusError> {
        let failed = |error: String| BusError::request(format!("reading account record {key}"), error);
        let entry = async { self.store.entry(key).await.map_err(|error| failed(error.to_string())) };
        let entry = self.bus.ask(entry).await?;
        let Some(entry) = entry.filter(|entry| entry.operation == async_nats::jetstream::kv::Operation::Put) else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&entry.value).map_err(|error| failed(error.to_string()))?;
        Ok(Some(Versioned { value, revision: entry.revision }))
    }

    /// Writes a record that must not exist yet; `false` when it does.
    pub async fn create<T: Serialize>(&self, key: &str, value: &T) -> Result<bool, BusError> {
        let created = async {
            match self.store.create(key, body(value).into()).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(BusError::request(format!("creating account record {key}"), error)),
            }
        };
        self.bus.ask(created).await
    }

    /// Writes a record if it still is at `revision`; `false` when somebody else was faster.
    pub async fn update<T: Serialize>(&self, key: &str, value: &T, revision: u64) -> Result<bool, BusError> {
        let updated = async {
            match self.store.update(key, body(value).into(), revision).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
                Err(error) => Err(BusError::request(format!("changing account record {key}"), error)),
            }
        };
        self.bus.ask(updated).await
    }

    /// Removes a record; that it is gone already is fine.
    pub async fn delete(&self, key: &str) -> Result<(), BusError> {
        let failed = |error| BusError::request(format!("removing account record {key}"), error);
        self.bus.ask(async { self.store.purge(key).await.map_err(failed) }).await
    }

    /// Every record under a pattern, as in `user.*`.
    pub async fn list<T: DeserializeOwned>(&self, pattern: &str) -> Result<Vec<T>, BusError> {
        let filter = format!("$KV.{ACCOUNTS}.{pattern}");
        let stored = self.bus.list(&format!("KV_{ACCOUNTS}"), filter, MAX_LISTED).await?;
        Ok(stored.iter().filter_map(|record| serde_json::from_slice(&record.payload).ok()).collect())
    }
}

fn body(value: &impl Serialize) -> Vec<u8> {
    // Plain structs of numbers and strings always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}
