//! The heartbeat by which gateways, supervisors and people know the workers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::ModelDigest;
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
    /// The model it serves.
    pub model: ModelStatus,
    /// Jobs it may hold, and holds.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
}
