//! Latencies and outcomes, and their summary.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx, or 304.
    Ok,
    /// 429 or 503 with `Retry-After`: an honest refusal.
    Refused,
    /// Any other status.
    Status(u16),
    /// No answer: the connection failed.
    Transport,
}

/// What one connection, or all of them, saw.
pub struct Record {
    latencies: Histogram<u64>,
    outcomes: BTreeMap<String, u64>,
    sources: BTreeMap<String, u64>,
}

impl Record {
    /// Nothing seen. Latencies from a microsecond up to ten minutes are kept to three digits.
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "constant bounds within what the histogram takes")]
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3).expect("valid bounds");
        Self { latencies, outcomes: BTreeMap::new(), sources: BTreeMap::new() }
    }

    /// One request; `source` is the answer's `X-Cache`.
    pub fn add(&mut self, took: Duration, outcome: &Outcome, source: Option<&str>) {
        let name = match outcome {
            Outcome::Ok => "ok".to_owned(),
            Outcome::Refused => "refused".to_owned(),
            Outcome::Status(status) => format!("status_{status}"),
            Outcome::Transport => "transport".to_owned(),
        };
        *self.outcomes.entry(name).or_default() += 1;
        if *outcome == Outcome::Ok {
            self.latencies.saturating_record(took.as_micros().max(1) as u64);
        }
        if let Some(source) = source {
            *self.sources.entry(source.to_owned()).or_default() += 1;
        }
    }

    /// Adds what another connection saw.
    pub fn merge(&mut self, other: &Record) {
        // Same bounds, so nothing can fall outside.
        let _ = self.latencies.add(&other.latencies);
        for (name, count) in &other.outcomes {
            *self.outcomes.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.sources {
            *self.sources.entry(name.clone()).or_default() += count;
        }
    }

    /// The figures, over `elapsed`.
    pub fn summary(&self, elapsed: Duration) -> Summary {
        let ms = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Summary {
            seconds: elapsed.as_secs_f64(),
            requests_per_second: self.latencies.len() as f64 / elapsed.as_secs_f64(),
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            max_ms: self.latencies.max() as f64 / 1e3,
            outcomes: self.outcomes.clone(),
            cache: self.sources.clone(),
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// What is printed; latencies are those of answered requests, milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Length of the run.
    pub seconds: f64,
    /// Answered requests a second.
    pub requests_per_second: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Slowest.
    pub max_ms: f64,
    /// Requests by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Answers by `X-Cache`.
    pub cache: BTreeMap<String, u64>,
}
