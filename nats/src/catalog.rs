//! The catalog: a record for each model with its versions, changed only by whoever has read its latest
//! state, and followed by everybody who serves or asks models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, Store, UpdateErrorKind};
use futures_util::StreamExt;
use parking_lot::RwLock;
use shoal_shared::catalog::{CatalogError, CatalogRecord, Role};
use shoal_shared::names::{ModelName, Version};
use shoal_shared::process::shutdown::Shutdown;
use thiserror::Error;
use tokio::sync::watch;

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::CATALOG;

/// Times that a change is tried again when somebody else was faster.
const TRIES: usize = 50;
/// Pause between two of them, and before a watch that broke off is begun anew.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause before the bucket is watched again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Why a record was not changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// The bus did not do it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// It would not be sound.
    #[error(transparent)]
    Refused(#[from] CatalogError),
}

/// The bucket of records. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    store: Store,
    bus: Bus,
}

impl Catalog {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let store = bus.lookup(&format!("bucket {CATALOG}"), || bus.js.get_key_value(CATALOG)).await?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// A model's record; absent when it was never pushed.
    pub async fn read(&self, model: &ModelName) -> Result<Option<CatalogRecord>, BusError> {
        Ok(self.entry(model).await?.map(|(record, _)| record))
    }

    /// Models that were pushed, with their records.
    pub async fn all(&self) -> Result<BTreeMap<ModelName, CatalogRecord>, BusError> {
        let failed = |error: String| BusError::request("listing the catalog", error);
        let mut keys = self.store.keys().await.map_err(|error| failed(error.to_string()))?;
        let mut records = BTreeMap::new();
        while let Some(key) = keys.next().await {
            let Ok(model) = key.map_err(|error| failed(error.to_string()))?.parse() else { continue };
            if let Some(record) = self.read(&model).await? {
                records.insert(model, record);
            }
        }
        Ok(records)
    }

    /// Changes a record; tries again when somebody else was faster. `change` is given the time, and may
    /// refuse.
    pub async fn change<T>(
        &self,
        model: &ModelName,
        change: impl Fn(&mut CatalogRecord, u64) -> Result<T, CatalogError>,
    ) -> Result<(T, CatalogRecord), ChangeError> {
        for _ in 0..TRIES {
            let (mut record, revision) = self.entry(model).await?.unwrap_or_default();
            let before = record.clone();
            let done = change(&mut record, unix_millis())?;
            if record == before || self.write(model, &record, revision).await? {
                return Ok((done, record));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(BusError::Conflict(format!("the catalog's record of {model} changes all the time")).into())
    }

    async fn entry(&self, model: &ModelName) -> Result<Option<(CatalogRecord, u64)>, BusError> {
        let entry = self.store.entry(model.as_str()).await;
        let entry = entry.map_err(|error| BusError::request("reading the catalog", error))?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
        let record = serde_json::from_slice(&entry.value);
        let record = record.map_err(|error| BusError::request(format!("the catalog's record of {model}"), error))?;
        Ok(Some((record, entry.revision)))
    }

    /// False when the record has changed since it was read.
    async fn write(&self, model: &ModelName, record: &CatalogRecord, revision: u64) -> Result<bool, BusError> {
        let body = serde_json::to_vec(record).unwrap_or_default();
        let failed = |error: String| BusError::request("writing the catalog", error);
        if revision == 0 {
            return match self.store.create(model.as_str(), body.into()).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(failed(error.to_string())),
            };
        }
        match self.store.update(model.as_str(), body.into(), revision).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Reads every record and follows changes until shutdown is ordered.
    pub async fn follow(&self, shutdown: &Shutdown) -> Result<CatalogView, BusError> {
        let records = self
            .bus
            .lookup("reading the catalog", || self.all())
            .await?
            .into_iter()
            .map(|(model, record)| (model, Arc::new(record)))
            .collect();
        let changed = watch::Sender::new(0);
        let view = CatalogView { records: Arc::new(RwLock::new(Arc::new(records))), changed: Arc::new(changed) };
        let (followed, catalog, stop) = (view.clone(), self.clone(), shutdown.clone());
        tokio::spawn(async move {
            while !stop.is_ordered() {
                tokio::select! {
                    () = catalog.watch(&followed) => {}
                    () = stop.ordered() => return,
                }
                tokio::time::sleep(WATCH_AGAIN).await;
            }
        });
        Ok(view)
    }

    /// Every record as it is, then every change; ends when the watch breaks off.
    async fn watch(&self, view: &CatalogView) {
        let mut entries = match self.store.watch_with_history(">").await {
            Ok(entries) => entries,
            Err(error) => return tracing::warn!(%error, "the catalog is not followed"),
        };
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(entry) => view.hear(&entry),
                Err(error) => return tracing::warn!(%error, "the catalog's watch broke off"),
            }
        }
    }

    /// Says that a gateway took a version out of service, on the subject of scaling's decisions: kept for a
    /// week, read by the same people.
    pub async fn publish(&self, model: &ModelName, event: Vec<u8>) -> Result<(), BusError> {
        self.bus.send(subjects::decision(model), event).await
    }
}

/// Records by model; asked at every request, so they are shared.
pub type Records = BTreeMap<ModelName, Arc<CatalogRecord>>;

/// The catalog as known at the moment. Cheap to clone.
#[derive(Clone)]
pub struct CatalogView {
    records: Arc<RwLock<Arc<Records>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl CatalogView {
    /// Every record.
    pub fn records(&self) -> Arc<Records> {
        self.records.read().clone()
    }

    /// A model's record; absent when it was never pushed, or nothing of it is left.
    pub fn record(&self, model: &ModelName) -> Option<Arc<CatalogRecord>> {
        self.records().get(model).filter(|record| record.live.is_some()).cloned()
    }

    /// The model and version that are served under a name.
    pub fn version_of(&self, served: &ModelName) -> Option<(ModelName, Version)> {
        let records = self.records();
        records.iter().find_map(|(model, record)| {
            // Cheap to rule out, and there may be many.
            let rest = served.as_str().strip_prefix(model.as_str())?.strip_prefix("_v")?;
            let version: Version = rest.parse().ok()?;
            record.versions.contains_key(&version).then(|| (model.clone(), version))
        })
    }

    /// Names under which versions of a model are served, each with its role.
    pub fn served_names(&self, model: &ModelName) -> Vec<(ModelName, Version, Role)> {
        let in_use = self.record(model).map(|record| record.in_use()).unwrap_or_default();
        in_use.into_iter().filter_map(|(version, role)| Some((model.served(&version).ok()?, version, role))).collect()
    }

    /// Tells of each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn hear(&self, entry: &Entry) {
        let Ok(model) = entry.key.parse::<ModelName>() else { return };
        let record = match entry.operation {
            Operation::Put => match serde_json::from_slice::<CatalogRecord>(&entry.value) {
                Ok(record) => Some(record),
                // Of another release: what is known stays.
                Err(error) => {
                    return tracing::warn!(%error, model.name = %model, "a record of the catalog is unreadable");
                }
            },
            _ => None,
        };
        let mut records = self.records.write();
        let mut next = BTreeMap::clone(&records);
        match record {
            Some(record) => drop(next.insert(model, Arc::new(record))),
            None => drop(next.remove(&model)),
        }
        if next != **records {
            *records = Arc::new(next);
            drop(records);
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
