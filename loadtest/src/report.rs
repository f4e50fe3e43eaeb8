//! Everything a run has found, as it is kept in JSON and rendered from.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::scenario::Scenario;
use crate::watch::Sample;

/// The format; a reader refuses another one.
pub const FORMAT: u32 = 1;

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// What was asked for.
    pub scenario: Scenario,
    /// What distinguishes this run from others of the scenario: "2 workers".
    pub label: Option<String>,
    /// When it began, Unix seconds.
    pub begun: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Why it ended early, if it did.
    pub ended_early: Option<String>,
    /// Where it was measured.
    pub environment: Environment,
    /// What was measured with.
    pub generator: Generator,
    /// All tasks together, logins included.
    pub total: TaskReport,
    /// Each task, and the login.
    pub tasks: Vec<TaskReport>,
    /// Each phase.
    pub phases: Vec<PhaseReport>,
    /// Second by second.
    pub series: Vec<Second>,
    /// What the target said of itself.
    pub watched: Vec<Sample>,
    /// Answers by `X-Cache`.
    pub cache: BTreeMap<String, u64>,
    /// What had to hold.
    pub thresholds: Vec<ThresholdReport>,
    /// The findings in words.
    pub verdict: Vec<String>,
}

/// The generator's own part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time over time: 0.61 of a core. The sum over agents.
    pub cores: f64,
    /// CPU of the busiest agent; one has no more than one core.
    pub busiest: f64,
    /// How late its own timers were, 99th percentile: what it may have added to a latency.
    pub lag_p99_ms: f64,
    /// Arrivals that were due and not sent, for want of room or local ports.
    pub shortfall: u64,
    /// Users that logged in.
    pub logins: u64,
    /// Requests sent before the start, to learn labels; not counted.
    pub warm_up: u64,
    /// Why the figures are the generator's limit, not the target's.
    pub limit: Option<String>,
    /// Agents, when there were several.
    pub agents: Vec<AgentReport>,
}

/// One of several agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentReport {
    /// Its name.
    pub name: String,
    /// Requests that it sent.
    pub requests: u64,
    /// CPU it used, of a core.
    pub cores: f64,
    /// How far its clock is from the coordinator's, milliseconds, as far as a round trip can tell.
    pub clock_offset_ms: f64,
    /// Second of the run after which nothing was heard of it.
    pub lost_at: Option<f64>,
}

/// A task over the whole run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TaskReport {
    /// Its name.
    pub name: String,
    /// GET or POST; empty for all together.
    pub method: String,
    /// Requests that ended, in whatever way.
    pub requests: u64,
    /// Answered as they should be.
    pub answered: u64,
    /// Refused with `Retry-After`.
    pub refused: u64,
    /// Everything else.
    pub failed: u64,
    /// Failures and refusals by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Answers a second.
    pub rps: f64,
    /// Latency of answered requests: from the time a request was due, where there is a schedule.
    pub latency: Option<Stats>,
    /// The same from the time it was sent: what a tool without a schedule would report.
    pub service: Option<Stats>,
    /// Latency of every request that ended, as Locust counts.
    pub ended: Option<Stats>,
    /// Mean length of a body that came back.
    pub content_bytes: f64,
}

/// One phase of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// Second of the run at which it begins.
    pub from: f64,
    /// Second at which it ends.
    pub to: f64,
    /// Arrivals that were due; open loop only.
    pub due: Option<f64>,
    /// How many were due in a second of it; answers may come in after its end.
    pub due_per_second: Option<f64>,
    /// What happened in it.
    pub total: TaskReport,
    /// Each task in it; only when there are few phases and tasks.
    pub tasks: Vec<TaskReport>,
}

/// One second of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Second {
    /// Its number.
    pub at: u32,
    /// Users.
    pub users: u64,
    /// Requests without an answer at its end.
    pub outstanding: u64,
    /// Answered as they should be.
    pub answered: u64,
    /// Refusals and failures by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Median latency of those answered.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Latency of every request that ended in it, as Locust counts.
    pub ended: Option<Stats>,
    /// All requests until its end, as Locust counts.
    pub so_far: SoFar,
}

/// All requests until the end of a second.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "names say it")]
pub struct SoFar {
    pub requests: u64,
    pub unanswered: u64,
    pub median_ms: f64,
    pub mean_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
    pub content_bytes: f64,
}

/// A threshold and the figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThresholdReport {
    /// As written.
    pub threshold: String,
    /// The figure, in words.
    pub value: String,
    /// Whether it holds.
    pub holds: bool,
}

/// Percentiles that are kept: those of Locust's table.
pub const KEPT: [f64; 10] = [50.0, 66.0, 75.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.9, 99.99];

/// A distribution of times, milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "names say it")]
pub struct Stats {
    pub count: u64,
    pub mean_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
    pub p50_ms: f64,
    pub p66_ms: f64,
    pub p75_ms: f64,
    pub p80_ms: f64,
    pub p90_ms: f64,
    pub p95_ms: f64,
    pub p98_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub p9999_ms: f64,
}

impl Stats {
    /// From a histogram of microseconds; `None` when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let ms = |percent: f64| histogram.value_at_percentile(percent) as f64 / 1e3;
        Some(Self {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e3,
            min_ms: histogram.min() as f64 / 1e3,
            max_ms: histogram.max() as f64 / 1e3,
            p50_ms: ms(50.0),
            p66_ms: ms(66.0),
            p75_ms: ms(75.0),
            p80_ms: ms(80.0),
            p90_ms: ms(90.0),
            p95_ms: ms(95.0),
            p98_ms: ms(98.0),
            p99_ms: ms(99.0),
            p999_ms: ms(99.9),
            p9999_ms: ms(99.99),
        })
    }

    /// The percentiles in the order of [`KEPT`].
    pub fn percentiles(&self) -> [f64; 10] {
        [
            self.p50_ms,
            self.p66_ms,
            self.p75_ms,
            self.p80_ms,
            self.p90_ms,
            self.p95_ms,
            self.p98_ms,
            self.p99_ms,
            self.p999_ms,
            self.p9999_ms,
        ]
    }

    /// One of [`KEPT`].
    pub fn at(&self, percent: f64) -> Option<f64> {
        KEPT.iter().position(|kept| *kept == percent).map(|index| self.percentiles()[index])
    }
}

impl Report {
    /// Whether every threshold holds.
    pub fn holds(&self) -> bool {
        self.thresholds.iter().all(|threshold| threshold.holds)
    }

    /// Share of requests that failed.
    pub fn failed_share(&self) -> f64 {
        self.total.failed as f64 / (self.total.requests as f64).max(1.0)
    }
}
