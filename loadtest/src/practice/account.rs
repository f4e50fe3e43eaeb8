//! What a practice server has done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::report::Stats;
use crate::slice::histogram;

/// What a practice server has done.
pub struct Account {
    start: Instant,
    done: Mutex<Done>,
}

struct Done {
    /// Delays as they were drawn, microseconds.
    drawn: Histogram<u64>,
    /// From a request's arrival to its answer: timers are late and images take time, the more so on a busy machine.
    took: Histogram<u64>,
    failed: u64,
    refused: u64,
    mixed_up: u64,
    logins: u64,
    stalls: Vec<Stall>,
    /// Addresses that connections came from.
    sources: BTreeSet<IpAddr>,
}

/// A time in which nothing moved, seconds since the server's start.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[allow(missing_docs, reason = "names say it")]
pub struct Stall {
    pub from: f64,
    pub to: f64,
}

/// Stalls that are remembered.
const MAX_STALLS: usize = 10_000;
/// Addresses that are remembered.
const MAX_SOURCES: usize = 10_000;

impl Default for Account {
    fn default() -> Self {
        let done = Done {
            drawn: histogram(),
            took: histogram(),
            failed: 0,
            refused: 0,
            mixed_up: 0,
            logins: 0,
            stalls: Vec::new(),
            sources: BTreeSet::new(),
        };
        Self { start: Instant::now(), done: Mutex::new(done) }
    }
}

impl Account {
    pub(super) fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    pub(super) fn answered(&self, drawn: Duration, took: Duration) {
        let mut done = self.done.lock();
        done.drawn.saturating_record(drawn.as_micros().max(1) as u64);
        done.took.saturating_record(took.as_micros().max(1) as u64);
    }

    pub(super) fn failed(&self) {
        self.done.lock().failed += 1;
    }

    pub(super) fn refused(&self) {
        self.done.lock().refused += 1;
    }

    pub(super) fn mixed_up(&self) {
        self.done.lock().mixed_up += 1;
    }

    pub(super) fn logged_in(&self) -> u64 {
        let mut done = self.done.lock();
        done.logins += 1;
        done.logins
    }

    pub(super) fn seen(&self, source: IpAddr) {
        let mut done = self.done.lock();
        if done.sources.len() < MAX_SOURCES {
            done.sources.insert(source);
        }
    }

    pub(super) fn stalled(&self, from: f64) {
        let mut done = self.done.lock();
        if done.stalls.len() < MAX_STALLS {
            let to = self.now();
            done.stalls.push(Stall { from, to });
        }
    }

    /// `GET /practice`.
    pub(super) fn json(&self) -> String {
        let done = self.done.lock();
        serde_json::json!({
            "predictions": done.drawn.len(),
            "failed": done.failed,
            "refused": done.refused,
            "mixed_up": done.mixed_up,
            "logins": done.logins,
            "drawn": Stats::of(&done.drawn),
            "took": Stats::of(&done.took),
            "stalls": done.stalls,
            "sources": done.sources,
        })
        .to_string()
    }
}
