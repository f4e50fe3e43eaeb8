//! Who is there: workers send heartbeats, everybody else gathers them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use parking_lot::RwLock;
use shoal_shared::names::{ModelName, NodeId};
use shoal_shared::presence::{HEARTBEAT_EXPIRY, HEARTBEAT_INTERVAL, HoldState, ModelStatus, WorkerState, WorkerStatus};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::supervision::SupervisorStatus;
use tokio::sync::Notify;

use crate::connect::{Bus, BusError};
use crate::subjects;

impl Bus {
    /// Sends one heartbeat.
    pub async fn announce(&self, status: &WorkerStatus) {
        let Ok(body) = serde_json::to_vec(status) else { return };
        if let Err(error) = self.send(subjects::heartbeat(&status.id), body).await {
            tracing::debug!(%error, "heartbeat not sent");
        }
    }

    /// Sends heartbeats, at once when asked by roll call, until shutdown is ordered.
    pub async fn run_heartbeat(
        &self,
        status: impl Fn() -> Option<WorkerStatus> + Send,
        changed: Arc<Notify>,
        shutdown: Shutdown,
    ) {
        let mut roll_call = self.client.subscribe(subjects::ROLL_CALL).await.ok();
        let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL);
        loop {
            let called = async {
                match roll_call.as_mut() {
                    Some(calls) => drop(calls.next().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = beat.tick() => {}
                () = called => {}
                () = changed.notified() => {}
                () = shutdown.ordered() => return,
            }
            if let Some(status) = status() {
                self.announce(&status).await;
            }
        }
    }
}

/// The workers known at the moment. Cheap to clone.
#[derive(Clone, Default)]
pub struct Fleet {
    workers: Arc<RwLock<HashMap<NodeId, (WorkerStatus, Instant)>>>,
    /// Every model as last described, kept when its workers are gone: cached predictions of it
    /// can still be found.
    described: Arc<RwLock<HashMap<ModelName, ModelStatus>>>,
    supervisors: Arc<RwLock<HashMap<NodeId, (SupervisorStatus, Instant)>>>,
    changed: Arc<Notify>,
}

impl Fleet {
    /// Starts gathering and asks everybody to answer now.
    pub async fn watch(bus: &Bus, shutdown: &Shutdown) -> Result<Self, BusError> {
        let fleet = Self::default();
        let subscribed = bus.client.subscribe(subjects::HEARTBEATS).await;
        let mut heartbeats = subscribed.map_err(|error| BusError::request("subscribing for heartbeats", error))?;
        let subscribed = bus.client.subscribe(subjects::SUPERVISORS).await;
        let mut supervisors = subscribed.map_err(|error| BusError::request("subscribing for supervisors", error))?;
        bus.send(subjects::ROLL_CALL.into(), Vec::new()).await?;
        let (watched, stop) = (fleet.clone(), shutdown.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = heartbeats.next() => match message {
                        Some(message) => watched.hear(&message.payload),
                        None => return,
                    },
                    Some(message) = supervisors.next() => watched.hear_supervisor(&message.payload),
                    () = stop.ordered() => return,
                }
            }
        });
        Ok(fleet)
    }

    fn hear_supervisor(&self, payload: &[u8]) {
        let Ok(status) = serde_json::from_slice::<SupervisorStatus>(payload) else { return };
        if let Some(described) = &status.described {
            self.described.write().entry(status.model.clone()).or_insert_with(|| described.clone());
        }
        let mut supervisors = self.supervisors.write();
        supervisors.insert(status.id.clone(), (status, Instant::now()));
        supervisors.retain(|_, (_, heard)| heard.elapsed() < HEARTBEAT_EXPIRY * 4);
    }

    /// Supervisors of a model that were heard of lately, the one heard last first.
    pub fn supervisors_of(&self, model: &ModelName) -> Vec<SupervisorStatus> {
        let supervisors = self.supervisors.read();
        let mut known: Vec<_> = supervisors
            .values()
            .filter(|(status, heard)| &status.model == model && heard.elapsed() < HEARTBEAT_EXPIRY * 2)
            .collect();
        known.sort_by_key(|(_, heard)| std::cmp::Reverse(*heard));
        known.into_iter().map(|(status, _)| status.clone()).collect()
    }

    /// Whether somebody starts a worker of a model when a job comes, or loads it into one that runs.
    pub fn wakes(&self, model: &ModelName) -> bool {
        self.supervisors_of(model).iter().any(|status| status.wakes) || self.is_on_call(model)
    }

    /// Whether a worker loads a model when a job comes, or is loading it.
    fn is_on_call(&self, model: &ModelName) -> bool {
        let workers = self.workers.read();
        let on_call = |status: &WorkerStatus| {
            let held = status.held(model).map(|held| held.state);
            status.takes_jobs() && matches!(held, Some(HoldState::Unloaded | HoldState::Loading))
        };
        workers.values().any(|(status, heard)| heard.elapsed() < HEARTBEAT_EXPIRY && on_call(status))
    }

    /// Why workers cannot serve a model, when they have tried; the worker and what it says.
    pub fn failed(&self, model: &ModelName) -> Option<(NodeId, String)> {
        self.workers().into_iter().find_map(|status| {
            let held = status.held(model).filter(|held| held.state == HoldState::Failed)?;
            Some((status.id.clone(), held.reason.clone().unwrap_or_default()))
        })
    }

    /// Everybody, with the time since they were heard of; also those that have fallen silent.
    pub fn heard(&self) -> Vec<(WorkerStatus, Duration)> {
        self.workers.read().values().map(|(status, heard)| (status.clone(), heard.elapsed())).collect()
    }

    fn hear(&self, payload: &[u8]) {
        let Ok(status) = serde_json::from_slice::<WorkerStatus>(payload) else { return };
        for model in status.served() {
            let known = self.described.read().get(&model.name).is_some_and(|known| known == model);
            if !known && status.state == WorkerState::Ready {
                self.described.write().insert(model.name.clone(), model.clone());
            }
        }
        for held in status.models.iter().filter(|held| held.state == HoldState::Unloaded) {
            if held.status.digest.as_str().is_empty() {
                continue;
            }
            let mut described = self.described.write();
            described.entry(held.status.name.clone()).or_insert_with(|| held.status.clone());
        }
        let mut workers = self.workers.write();
        if status.state == WorkerState::Gone {
            workers.remove(&status.id);
        } else {
            workers.insert(status.id.clone(), (status, Instant::now()));
        }
        workers.retain(|_, (_, heard)| heard.elapsed() < HEARTBEAT_EXPIRY * 4);
        drop(workers);
        self.changed.notify_waiters();
    }

    /// Resolves when there is a worker that takes jobs.
    pub async fn until_any_ready(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ready(None) > 0 {
                return;
            }
            changed.await;
        }
    }

    /// Everybody heard of lately.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let workers = self.workers.read();
        workers
            .values()
            .filter(|(_, heard)| heard.elapsed() < HEARTBEAT_EXPIRY)
            .map(|(status, _)| status.clone())
            .collect()
    }

    /// A model as its workers described it last.
    pub fn model(&self, name: &ModelName) -> Option<ModelStatus> {
        self.described.read().get(name).cloned()
    }

    /// Every model described so far, by name.
    pub fn models(&self) -> Vec<ModelStatus> {
        let mut models: Vec<_> = self.described.read().values().cloned().collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        models
    }

    /// Workers that take jobs of a model, as they described themselves last, each as if it served no other.
    pub fn workers_of(&self, model: &ModelName) -> Vec<WorkerStatus> {
        let workers = self.workers();
        workers.iter().filter(|status| status.serves(model)).filter_map(|status| status.as_serving(model)).collect()
    }

    /// Workers that take jobs of a model; of any model when none is named.
    pub fn ready(&self, model: Option<&ModelName>) -> usize {
        let workers = self.workers.read();
        let takes = |status: &WorkerStatus| model.map_or(status.takes_jobs(), |model| status.serves(model));
        workers.values().filter(|(status, heard)| heard.elapsed() < HEARTBEAT_EXPIRY && takes(status)).count()
    }

    /// Resolves after the next heartbeat.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
