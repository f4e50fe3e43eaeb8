//! Supervisors' common record, their signs of life, and the decisions: kept on the bus, so that a
//! fleet-wide maximum holds, any of them can decide next, and anybody can read why.

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use futures_util::StreamExt;
use shoal_shared::names::ModelName;
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::supervision::{FleetRecord, SupervisorStatus};

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::{DECISIONS, FLEET};

/// The bucket of fleet records. Cheap to clone.
#[derive(Clone)]
pub struct Supervision {
    store: Store,
    bus: Bus,
}

/// A record as it was read: writing it back fails when somebody else was faster.
pub struct Read {
    /// The record; empty when there was none.
    pub record: FleetRecord,
    revision: u64,
}

impl Supervision {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let store = bus.lookup(&format!("bucket {FLEET}"), || bus.js.get_key_value(FLEET)).await?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// Reads a model's record.
    pub async fn read(&self, model: &ModelName) -> Result<Read, BusError> {
        let entry = self.store.entry(model.as_str()).await;
        let entry = entry.map_err(|error| BusError::request("reading the fleet's record", error))?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
            return Ok(Read { record: FleetRecord::default(), revision: 0 });
        };
        // One that does not parse is of another release: it is written anew.
        Ok(Read { record: serde_json::from_slice(&entry.value).unwrap_or_default(), revision: entry.revision })
    }

    /// Writes a record back; false when it has changed since it was read.
    pub async fn write(&self, model: &ModelName, read: &Read) -> Result<bool, BusError> {
        let body = serde_json::to_vec(&read.record).unwrap_or_default();
        let failed = |error: String| BusError::request("writing the fleet's record", error);
        if read.revision == 0 {
            return match self.store.create(model.as_str(), body.into()).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(failed(error.to_string())),
            };
        }
        match self.store.update(model.as_str(), body.into(), read.revision).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Changes a record; tries again when somebody else was faster.
    pub async fn change(&self, model: &ModelName, change: impl Fn(&mut FleetRecord)) -> Result<(), BusError> {
        for _ in 0..50 {
            let mut read = self.read(model).await?;
            change(&mut read.record);
            if self.write(model, &read).await? {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err(BusError::Conflict(format!("the record of fleet {model} changes all the time")))
    }

    /// Models that have a record.
    pub async fn models(&self) -> Result<Vec<ModelName>, BusError> {
        let failed = |error: String| BusError::request("listing fleets", error);
        let keys = self.store.keys().await.map_err(|error| failed(error.to_string()))?;
        Ok(keys.filter_map(|key| async { key.ok()?.parse().ok() }).collect().await)
    }

    /// Publishes a decision as JSON. It is kept for a week.
    pub async fn publish(&self, model: &ModelName, decision: Vec<u8>) -> Result<(), BusError> {
        self.bus.send(subjects::decision(model), decision).await
    }

    /// The latest decisions of a model, the oldest first, as JSON with the time of each.
    pub async fn decisions(&self, model: &ModelName, most: u64) -> Result<Vec<Recorded>, BusError> {
        let failed = |error: String| BusError::request("reading decisions", error);
        let stream = self.bus.js.get_stream(DECISIONS).await.map_err(|error| failed(error.to_string()))?;
        let config = pull::OrderedConfig { filter_subject: subjects::decision(model), ..Default::default() };
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(error.to_string()))?;
        let there = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|error| failed(error.to_string()))?;
        let last = messages.take(there as usize).skip(there.saturating_sub(most) as usize);
        let recorded = last.filter_map(|message| async {
            let message = message.ok()?;
            let at = message.info().ok()?.published.into();
            Some(Recorded { at, json: message.payload.to_vec() })
        });
        Ok(recorded.collect().await)
    }
}

/// A decision as it was recorded.
pub struct Recorded {
    /// When.
    pub at: std::time::SystemTime,
    /// What, as JSON.
    pub json: Vec<u8>,
}

impl Bus {
    /// Hears every decision, by model and action, until shutdown is ordered.
    pub async fn on_decisions(&self, heard: impl Fn(&ModelName, &str) + Send, shutdown: Shutdown) {
        let Ok(mut decisions) = self.client.subscribe(subjects::DECISIONS).await else { return };
        loop {
            let message = tokio::select! {
                message = decisions.next() => message,
                () = shutdown.ordered() => return,
            };
            let Some(message) = message else { return };
            let Some(Ok(model)) = message.subject.rsplit('.').next().map(str::parse) else { continue };
            let Ok(decision) = serde_json::from_slice::<serde_json::Value>(&message.payload) else { continue };
            // An action without a number is a word, one with a number an object of that name.
            let action = &decision["action"];
            let named = action.as_str().or_else(|| action.as_object()?.keys().next().map(String::as_str));
            heard(&model, named.unwrap_or_default());
        }
    }

    /// Says that a supervisor is there.
    pub async fn announce_supervisor(&self, status: &SupervisorStatus) {
        let Ok(body) = serde_json::to_vec(status) else { return };
        if let Err(error) = self.send(subjects::supervisor(&status.id), body).await {
            tracing::debug!(%error, "a supervisor's sign of life was not sent");
        }
    }
}
