//! What was decided, why, and from what: one event, fit for a log line, an API and a test.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// What to do. Counts are workers that are ready or coming, without those that are written off or
/// draining; they are absolute, so that an order may be carried out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Leave it.
    Hold,
    /// Start workers.
    Up {
        /// How many there should be then.
        to: usize,
    },
    /// Drain workers, the slowest first: what is left is then no slower than was reckoned with.
    Down {
        /// How many there should be then.
        to: usize,
    },
    /// More are wanted, but they would not help or are not allowed.
    Refuse,
}

/// Why, as a closed set: for labels and to tell one state from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An operator fixed the count.
    Manual,
    /// The count was outside min and max.
    Bounds,
    /// The broker did not answer.
    BrokerSilent,
    /// Workers run, but none was heard.
    HeartbeatsLost,
    /// Arrivals or backlog ask for more.
    Load,
    /// First job for a stopped fleet.
    Wake,
    /// As many as wanted.
    Enough,
    /// Fewer would do, and did for the whole stabilisation window.
    Quiet,
    /// Fewer would do, but not for long enough yet.
    Stabilising,
    /// Fewer would do, but another worker is coming or going.
    Moving,
    /// Fewer would do by the numbers, but those who work are too busy or not all heard.
    Unsure,
    /// No job for long.
    Idle,
    /// The backlog does not move though workers are idle.
    Unmoved,
    /// More are wanted than `max`.
    AtMax,
    /// The host's cores are used up.
    CpuSaturated,
    /// Workers x threads fill the cores.
    CoresTaken,
    /// Every device has its session.
    DevicesTaken,
    /// The last scale-up brought nothing: undone, or not tried again.
    NoGain,
}

/// What a decision was made from. Rates are a second, times are seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inputs {
    /// Jobs that wait, as reported; `None` when the broker did not answer.
    pub backlog: Option<u64>,
    /// The part of them that arrivals or busy workers vouch for.
    pub believed: u64,
    /// The believed backlog over the rate at which the ready workers work.
    pub backlog_seconds: Option<f64>,
    /// Age of the oldest job.
    pub oldest_seconds: Option<f64>,
    /// Jobs a second.
    pub arrivals: f64,
    /// Seconds of one worker per image; `None` until measured.
    pub service: Option<f64>,
    /// Mean busy fraction of the workers that were heard.
    pub busy: Option<f64>,
    /// Images in a batch over what it may hold.
    pub batch_fill: Option<f64>,
    /// Workers that take jobs.
    pub ready: usize,
    /// Ready workers that were not heard of late.
    pub unheard: usize,
    /// Workers that are starting and expected.
    pub coming: usize,
    /// Workers that start for so long that they are not expected any more.
    pub written_off: usize,
    /// Workers that finish what they hold.
    pub draining: usize,
    /// From order to ready.
    pub startup: f64,
    /// The host's cores.
    pub cores: Option<f64>,
    /// Cores busy.
    pub busy_cores: Option<f64>,
    /// Part of one worker's throughput that each worker of the last measured scale-up brought.
    pub gain: Option<f64>,
    /// Workers wanted, not rounded.
    pub wanted: f64,
    /// Workers wanted, whole and within bounds.
    pub target: usize,
    /// The highest target of the stabilisation window.
    pub highest: usize,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// When, seconds since the policy's start.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// What to do.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// Workers ordered until now.
    pub from: usize,
    /// Workers ordered from now on.
    pub to: usize,
    /// Threads that each worker's session should have with `to` workers; 0 where cores are unknown.
    pub threads: usize,
    /// Workers that are starting and not expected any more, longest first: to be ended. They are
    /// not among `to`.
    pub written_off: usize,
    /// Why, in words with numbers.
    pub reason: String,
    /// Whether this differs from the decision before in more than its numbers. Only then it is news.
    pub changed: bool,
    /// What it was made from.
    pub inputs: Inputs,
}

fn seconds<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(at.as_secs_f64())
}
