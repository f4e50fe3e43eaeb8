//! A job's way through this process. Each stage takes what it works on by value and hands on the
//! next type; closing the first stage lets every later one run dry, which is the drain.
//!
//! ```text
//! pullers ─▶ intake ─────────────▶ lanes ─▶ decode threads ─▶ ready ─▶ session threads ─▶ settle
//!  slots     checks ▸ quarantine ▸ weighted   bytes → pixels   batches   pixels → scores   store, answer, ack
//! ```

mod decoding;
mod intake;
mod lanes;
mod pace;
mod quarantine;
mod ready;
mod sessions;
mod settle;
mod streak;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use shoal_nats::attempts::Record;
use shoal_nats::cancel::Cancelled;
use shoal_nats::delivery::Delivery;
use shoal_shared::digest::{CacheKey, DigestKind};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::{ModelName, Version};
use shoal_shared::prediction::{Prediction, Timings};
use shoal_shared::process::spans::Spans;
use tokio::sync::OwnedSemaphorePermit;

use crate::image::Row;
use crate::serving::Tally;

pub use decoding::{DecodePool, run_decode_thread};
pub use intake::Intake;
pub use lanes::{Laned, Lanes, lanes};
pub use quarantine::{Pass, Quarantine};
pub use ready::{Due, Feeder, Kind, Ready, Release, Shape, Taken, Turn};
pub use sessions::{SessionThread, SessionWork};
pub use settle::Settler;
pub use streak::FailureStreak;

/// A job in hand with its image.
pub struct Held {
    /// The right to settle it; holds its slot.
    pub delivery: Delivery,
    /// The encoded image.
    pub image: Bytes,
    /// Where its prediction is cached. Set once the image's digest is known.
    pub key: Option<CacheKey>,
    /// Where its time went so far.
    pub timings: Timings,
    /// When it entered the current stage.
    pub entered: Instant,
    /// Attempts on it that are written down; 0 at its first delivery.
    pub attempts: u32,
    /// What was written down before this attempt, when it came back.
    pub earlier: Option<Record>,
    /// Its way through quarantine, when it came back.
    pub pass: Option<Pass>,
    /// The place of a large image that was read and is not decoded yet.
    pub place: Option<OwnedSemaphorePermit>,
}

/// A job whose image is ready for the input tensor.
pub struct Decoded {
    /// The job.
    pub held: Held,
    /// Its image.
    pub row: Row,
}

impl Due for Decoded {
    fn due(&self) -> Option<Instant> {
        let deadline = self.held.delivery.wishes.deadline?;
        Some(Instant::now() + deadline.remaining(SystemTime::now()))
    }
}

/// A job that is ready to be settled.
pub struct Finished {
    /// The job.
    pub held: Held,
    /// What became of it.
    pub verdict: Verdict,
    /// Images in its batch; 0 when no session ran.
    pub batch: u16,
}

/// What became of a job.
pub enum Verdict {
    /// The session answered.
    Predicted(Prediction),
    /// The cache answered.
    Cached(Prediction),
    /// It ends without a prediction, and trying again would not help.
    Failed(Failure),
    /// Nobody waits for it any more: it ends without an answer.
    Cancelled,
    /// The attempt failed; another may succeed.
    Retry(String),
    /// It was not attempted: another worker may take it.
    Returned(String),
    /// It was attempted as often as allowed.
    Exhausted {
        /// What became of the last attempt.
        reason: String,
        /// How many there were.
        attempts: u32,
        /// The worker that had it last.
        worker: String,
    },
}

/// The way to the settler; bounded by the slots. What is ready at the same time goes together: the settler wakes
/// once, and all of it leaves in one write.
pub type FinishedSender = tokio::sync::mpsc::UnboundedSender<Vec<Finished>>;

/// The way to the sessions.
pub type DecodedSender = Feeder<Decoded>;

/// Microseconds since `earlier`, for [`Timings`].
pub fn micros_since(earlier: Instant) -> u32 {
    earlier.elapsed().as_micros().min(u128::from(u32::MAX)) as u32
}

/// What every stage shares.
#[derive(Clone)]
pub struct Shared {
    /// Counters and histograms.
    pub metrics: Arc<crate::metrics::WorkerMetrics>,
    /// The model served.
    pub model: Arc<crate::model::Model>,
    /// Digest that identifies images in cache keys.
    pub digest: DigestKind,
    /// Jobs that nobody waits for any more.
    pub cancelled: Cancelled,
    /// Where spans go.
    pub spans: Spans,
    /// What the model has done since it was loaded.
    pub tally: Arc<Tally>,
    /// When the process started.
    pub origin: Instant,
    /// The model as people name it, and its version.
    pub named: (ModelName, Option<Version>),
}

impl Shared {
    /// Why a job need not be worked on any more, asked before each stage that costs something.
    pub fn is_moot(&self, held: &Held, before: &str) -> Option<Verdict> {
        if held.delivery.is_expired() {
            let message = format!("the deadline had passed before {before}");
            return Some(Verdict::Failed(Failure::new(FailureCode::DeadlineExceeded, message)));
        }
        self.cancelled.take(&held.delivery.id).then_some(Verdict::Cancelled)
    }
}
