//! The heartbeat by which gateways, supervisors and people know the workers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::ModelDigest;
use crate::manifest::Exactness;
use crate::names::{ModelName, NodeId};

/// How often a worker says that it is there.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// A worker not heard of for this long is counted as gone.
pub const HEARTBEAT_EXPIRY: Duration = Duration::from_millis(2500);

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The worker.
    pub id: NodeId,
    /// Host it runs on.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// Release of the binary.
    pub version: String,
    /// Address of its metrics, `host:port`.
    pub admin: String,
    /// What it is doing as a process.
    pub state: WorkerState,
    /// The model it serves; of several, the first one it was told to.
    pub model: ModelStatus,
    /// Every model it serves or could. Empty from releases that served one: then it is `model`.
    #[serde(default)]
    pub models: Vec<HeldModel>,
    /// Jobs it may hold, and holds, of all models together.
    pub slots: Slots,
    /// Share of the last interval in which its sessions were running, 0 to 1.
    pub busy: f32,
    /// Images inferred since it started.
    pub images: u64,
    /// What it and its host have used since it started.
    #[serde(default)]
    pub used: Used,
}

impl WorkerStatus {
    /// Whether it pulls jobs.
    pub fn takes_jobs(&self) -> bool {
        self.state == WorkerState::Ready
    }

    /// Whether it pulls jobs of a model.
    pub fn serves(&self, model: &ModelName) -> bool {
        let is_ready = |held: &HeldModel| held.status.name == *model && held.state == HoldState::Ready;
        let serves = if self.models.is_empty() { self.model.name == *model } else { self.models.iter().any(is_ready) };
        self.takes_jobs() && serves
    }

    /// What it says of a model, whatever the state.
    pub fn held(&self, model: &ModelName) -> Option<&HeldModel> {
        self.models.iter().find(|held| held.status.name == *model)
    }

    /// Every model that it serves.
    pub fn served(&self) -> Vec<&ModelStatus> {
        if self.models.is_empty() {
            return vec![&self.model];
        }
        self.models.iter().filter(|held| held.state == HoldState::Ready).map(|held| &held.status).collect()
    }

    /// The same worker as one that serves this model and no other: what it did for others is left out, what
    /// the process uses is not.
    pub fn as_serving(&self, model: &ModelName) -> Option<Self> {
        if self.models.is_empty() {
            return (self.model.name == *model).then(|| self.clone());
        }
        let held = self.held(model).filter(|held| matches!(held.state, HoldState::Ready | HoldState::Draining))?;
        let state = if held.state == HoldState::Draining { WorkerState::Draining } else { self.state };
        Some(Self {
            model: held.status.clone(),
            models: Vec::new(),
            slots: held.slots,
            busy: held.busy,
            images: held.images,
            used: Used { batches: held.batches, ..self.used },
            state,
            ..self.clone()
        })
    }
}

/// A model in a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldModel {
    /// The model; its size and speed are known once it was loaded.
    #[serde(flatten)]
    pub status: ModelStatus,
    /// Where it is in its life here.
    pub state: HoldState,
    /// Why it is not served, when something went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Jobs of it that the worker may hold, and holds.
    pub slots: Slots,
    /// Share of the last interval in which its sessions were running, 0 to 1.
    pub busy: f32,
    /// Images inferred since it was loaded.
    pub images: u64,
    /// Batches run since it was loaded.
    pub batches: u64,
    /// Memory that it takes, reckoned: its file, once for each session that has a copy.
    pub memory_bytes: u64,
    /// Seconds from the order to the first pull.
    pub loaded_in: f32,
}

/// A model's life in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// Being fetched, loaded and warmed up.
    Loading,
    /// Its jobs are pulled.
    Ready,
    /// What is in hand is finished; nothing more is pulled.
    Draining,
    /// Not in memory, and loaded as soon as a job comes.
    Unloaded,
    /// Not in memory, and loaded when there is room.
    Waiting,
    /// It cannot be served.
    Failed,
}

impl HoldState {
    /// Every state.
    pub const ALL: [HoldState; 6] = [
        HoldState::Loading,
        HoldState::Ready,
        HoldState::Draining,
        HoldState::Unloaded,
        HoldState::Waiting,
        HoldState::Failed,
    ];

    /// Word for people and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldState::Loading => "loading",
            HoldState::Ready => "ready",
            HoldState::Draining => "draining",
            HoldState::Unloaded => "unloaded",
            HoldState::Waiting => "waiting",
            HoldState::Failed => "failed",
        }
    }
}

/// Use of resources, counted from a worker's start: two heartbeats tell what happened between them,
/// however many were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// Seconds since its start, by its own clock.
    pub uptime: f64,
    /// Seconds that its sessions ran, at most one a second.
    pub sessions: f64,
    /// Seconds that its decode threads worked, summed.
    pub decoding: f64,
    /// CPU seconds of the process.
    pub cpu: f64,
    /// CPU seconds of everything on its host, or in its container.
    pub host_cpu: f64,
    /// Batches run.
    pub batches: u64,
    /// Decode threads.
    pub decode_threads: u32,
    /// Threads that its sessions compute with at the same time.
    pub session_threads: u32,
    /// Cores it may use.
    pub cores: u32,
    /// Whether a quantised model would run faster here than this one.
    pub int8_would_help: bool,
}

/// A worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Loading and warming up.
    Starting,
    /// Pulling jobs.
    Ready,
    /// Finishing what it holds; pulls nothing.
    Draining,
    /// Said as the last word.
    Gone,
}

/// Jobs in a worker's hands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Upper bound.
    pub total: u32,
    /// In use.
    pub busy: u32,
}

/// The model a worker serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: ModelName,
    /// Its digest, part of every cache key.
    pub digest: ModelDigest,
    /// Title for people.
    pub title: String,
    /// Largest batch.
    pub max_batch: usize,
    /// Number of classes.
    pub classes: usize,
    /// Name of the input tensor; empty until a session has been built.
    #[serde(default)]
    pub input_name: String,
    /// Input tensor shape without the batch axis; empty until a session has been built.
    pub input_shape: Vec<i64>,
    /// Milliseconds for an image in a full batch, measured at warm-up and since.
    pub image_ms: f32,
    /// How close its answers are to those of the file computed as it is written.
    #[serde(default)]
    pub precision: Exactness,
    /// How its sessions compute, in words; empty until they have been built.
    #[serde(default)]
    pub engine: String,
}

impl ModelStatus {
    /// A model of which nothing more is known yet.
    pub fn outline(name: ModelName, digest: ModelDigest) -> Self {
        Self {
            name,
            digest,
            title: String::new(),
            max_batch: 0,
            classes: 0,
            input_name: String::new(),
            input_shape: Vec::new(),
            image_ms: 0.0,
            precision: Exactness::default(),
            engine: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"id":"worker-1","host":"h","pid":1,"version":"0.1.0","admin":"a:1","state":"ready",
        "model":{"name":"a","digest":"d","title":"","max_batch":8,"classes":10,"input_shape":[],"image_ms":2.0},
        "slots":{"total":4,"busy":1},"busy":0.5,"images":7}"#;

    fn name(text: &str) -> ModelName {
        text.parse().unwrap()
    }

    #[test]
    fn a_heartbeat_of_an_earlier_release_serves_its_one_model() {
        let old: WorkerStatus = serde_json::from_str(OLD).unwrap();
        assert!(old.serves(&name("a")) && !old.serves(&name("b")));
        assert_eq!(old.as_serving(&name("a")).unwrap(), old);
        assert_eq!(old.served().len(), 1);
    }

    #[test]
    fn each_model_has_its_own_part() {
        let mut worker: WorkerStatus = serde_json::from_str(OLD).unwrap();
        let held = |of: &str, state, images| HeldModel {
            status: ModelStatus { name: name(of), ..worker.model.clone() },
            state,
            reason: None,
            slots: Slots { total: 2, busy: 0 },
            busy: 0.1,
            images,
            batches: 1,
            memory_bytes: 1,
            loaded_in: 0.1,
        };
        worker.models =
            vec![held("a", HoldState::Ready, 5), held("b", HoldState::Ready, 2), held("c", HoldState::Unloaded, 0)];
        assert!(worker.serves(&name("b")) && !worker.serves(&name("c")));
        assert_eq!(worker.as_serving(&name("b")).unwrap().images, 2);
        assert!(worker.as_serving(&name("c")).is_none());
        let text = serde_json::to_string(&worker).unwrap();
        assert_eq!(serde_json::from_str::<WorkerStatus>(&text).unwrap(), worker);
    }
}
