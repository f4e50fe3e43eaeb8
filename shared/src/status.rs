//! Everything that is worth a look, in one answer: `GET /api/status`, read by `shoal top`.

use serde::{Deserialize, Serialize};

use crate::attribution::Report;
use crate::names::{Lane, ModelName};
use crate::presence::WorkerStatus;

/// How the fleet is doing, as one gateway sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Release of the gateway.
    pub version: String,
    /// Which part is the bottleneck.
    pub report: Report,
    /// Predictions answered a second, by where the answer came from.
    pub answered: BySource,
    /// Latency of predictions over the window; absent without any.
    pub latency_ms: Option<Percentiles>,
    /// What waits.
    pub queues: Vec<QueueStatus>,
    /// Who works.
    pub workers: Vec<WorkerStatus>,
}

/// A rate for each place that an answer can come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct BySource {
    /// The gateway's memory.
    pub hit: f64,
    /// The shared cache.
    pub shared: f64,
    /// Somebody else's job.
    pub coalesced: f64,
    /// A job of its own.
    pub miss: f64,
}

/// Quantiles, interpolated within the buckets of a histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are faster.
    pub p50: f64,
    /// 95 of 100 are faster.
    pub p95: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
}

impl Percentiles {
    /// From the upper bounds of buckets and the counts in them (not cumulated; one more for what is
    /// beyond the last bound). `None` when all are empty.
    pub fn of(bounds: &[f64], counts: &[u64]) -> Option<Self> {
        let total: u64 = counts.iter().sum();
        let quantile = |q: f64| {
            let rank = q * total as f64;
            let mut below = 0.0;
            for (index, &count) in counts.iter().enumerate() {
                let lower = index.checked_sub(1).and_then(|index| bounds.get(index)).copied().unwrap_or(0.0);
                // Nothing is known of what is beyond the last bound but that it is beyond.
                let upper = bounds.get(index).copied().unwrap_or(lower);
                if below + count as f64 >= rank && count > 0 {
                    return lower + (upper - lower) * (rank - below) / count as f64;
                }
                below += count as f64;
            }
            bounds.last().copied().unwrap_or(0.0)
        };
        (total > 0).then(|| Self { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) })
    }

    /// In another unit.
    pub fn times(self, factor: f64) -> Self {
        Self { p50: self.p50 * factor, p95: self.p95 * factor, p99: self.p99 * factor }
    }
}

/// One lane of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// The model.
    pub model: ModelName,
    /// The lane.
    pub lane: Lane,
    /// Jobs that no worker has yet.
    pub waiting: u64,
    /// Jobs in workers' hands.
    pub in_flight: u64,
    /// Of these, delivered more than once.
    pub redelivered: u64,
    /// Age of the oldest, seconds.
    pub oldest_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let found = Percentiles::of(&[1.0, 2.0, 4.0], &[50, 40, 9, 1]).unwrap();
        assert_eq!(found, Percentiles { p50: 1.0, p95: 2.0 + 2.0 * 5.0 / 9.0, p99: 4.0 });
        assert_eq!(Percentiles::of(&[1.0], &[0, 0]), None);
        // All beyond the last bound: at least that.
        assert_eq!(Percentiles::of(&[1.0], &[0, 5]).unwrap().p99, 1.0);
    }
}
