//! What was measured over a window.

use serde::{Deserialize, Serialize};

/// The stages of an answered prediction, in the order of the path. Together they are its whole time.
pub const STAGES: [&str; 13] = [
    "receive",
    "hash",
    "cache",
    "join",
    "publish",
    "queue",
    "fetch",
    "decode",
    "batch_wait",
    "infer",
    "store",
    "reply",
    "respond",
];

/// Seconds in each stage: of one prediction, or summed over many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTimes(pub [f64; STAGES.len()]);

impl StageTimes {
    /// Seconds in one stage; 0 for a name that is none.
    pub fn get(&self, stage: &str) -> f64 {
        STAGES.iter().position(|name| *name == stage).map_or(0.0, |index| self.0[index])
    }

    /// Sets one stage; a name that is none is ignored.
    pub fn set(&mut self, stage: &str, seconds: f64) {
        if let Some(index) = STAGES.iter().position(|name| *name == stage) {
            self.0[index] = seconds;
        }
    }

    /// Adds another prediction's times.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, value)| *sum += value);
    }

    /// What was added since `earlier`, over `count` predictions.
    pub fn mean_since(&self, earlier: &Self, count: f64) -> Self {
        let mut mean = Self::default();
        if count > 0.0 {
            mean.0.iter_mut().zip(self.0.iter().zip(earlier.0)).for_each(|(mean, (now, then))| {
                *mean = ((now - then) / count).max(0.0);
            });
        }
        mean
    }

    /// The whole time.
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The stages in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        STAGES.iter().copied().zip(self.0.iter().copied())
    }
}

/// How much of something is in use: busy seconds a second, of so many that are possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// Busy seconds a second.
    pub busy: f64,
    /// Most that are possible: threads, cores.
    pub capacity: f64,
}

impl Use {
    /// Utilisation, 0 to 1.
    pub fn ratio(&self) -> f64 {
        if self.capacity > 0.0 { (self.busy / self.capacity).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A machine, or a container with cores of its own, on which workers run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostUse {
    /// Its name.
    pub host: String,
    /// Its cores.
    pub cpu: Use,
    /// Of the busy cores, those that Shoal's own workers and this gateway keep busy.
    pub own: f64,
    /// Threads that its workers' sessions compute with at the same time.
    pub session_threads: f64,
}

/// What can be used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Threads of the gateway's runtime.
    Gateway,
    /// The broker, by the share of the time that predictions spend with it.
    Broker,
    /// Decode threads.
    Decode,
    /// Sessions.
    Inference,
    /// Cores of the fullest host.
    Cpu,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Resource; 5] =
        [Resource::Gateway, Resource::Broker, Resource::Decode, Resource::Inference, Resource::Cpu];

    /// Word in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Gateway => "gateway",
            Resource::Broker => "broker",
            Resource::Decode => "decode",
            Resource::Inference => "inference",
            Resource::Cpu => "cpu",
        }
    }
}

/// What was measured over a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Situation {
    /// Answered predictions a second.
    pub answered: f64,
    /// Of these, computed by a worker for this gateway.
    pub computed: f64,
    /// Images that all workers inferred a second.
    pub inferred: f64,
    /// Requests refused for want of time or room, a second.
    pub refused: f64,
    /// Mean times of a computed prediction, seconds.
    pub stages: StageTimes,
    /// Runtime threads of this gateway.
    pub gateway: Use,
    /// Decode threads of all workers.
    pub decode: Use,
    /// Sessions of all workers; a worker counts one.
    pub inference: Use,
    /// Workers that take jobs.
    pub workers: usize,
    /// Hosts of workers, and the gateway's.
    pub hosts: Vec<HostUse>,
    /// Jobs that wait in the stream.
    pub waiting: u64,
    /// How long a new job would wait, seconds.
    pub wait: f64,
    /// Images a second that the workers reach by their own measurement at start.
    pub speed: f64,
    /// Whether a quantised model would run faster on these workers: the model is not one, and their
    /// processors have instructions for it.
    pub int8_would_help: bool,
}

impl Situation {
    /// The host with the fewest cores to spare.
    pub fn fullest(&self) -> HostUse {
        let by_ratio = |a: &&HostUse, b: &&HostUse| a.cpu.ratio().total_cmp(&b.cpu.ratio());
        self.hosts.iter().max_by(by_ratio).cloned().unwrap_or_default()
    }
}
