//! `shoal plan`: how many workers a rate and a delay need, before anything runs. An estimate from
//! queueing theory, and it says where it stops being one.
//!
//! Without batching it is Allen-Cunneen (`erlang`). With it, a worker takes what waits, up to `B`
//! images, and a batch of `b` takes `t(b)`; the time per image `t(b) / b` falls as the queue grows:
//! see `batching`.

use super::batching::{BatchCurve, Batching};

/// Above this utilisation the wait depends on what the model leaves out.
const TRUSTWORTHY: f64 = 0.85;
/// Most workers that are tried.
const MOST_WORKERS: usize = 10_000;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Jobs a second.
    pub rate: f64,
    /// Delay that 95 % of jobs should stay under, ms.
    pub p95_goal_ms: f64,
    /// What batches take.
    pub curve: BatchCurve,
    /// Cores of the fleet.
    pub cores: f64,
    /// Cores that a worker keeps busy while it infers; 0 on a device.
    pub cores_per_worker: f64,
    /// Most workers, by devices or memory.
    pub most_workers: usize,
    /// Core time to decode one image, ms.
    pub decode_ms: f64,
    /// Everything else on the path: network, broker, encoding, ms.
    pub overhead_ms: f64,
    /// Squared coefficient of variation of the times between jobs: 1 for independent users.
    pub arrivals_cv2: f64,
    /// The same of the time a batch takes.
    pub service_cv2: f64,
}

/// What gives out first when the rate rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saturates {
    /// The workers, at as many as there may be.
    Workers,
    /// The cores, mostly by decoding.
    Decode,
    /// The cores, mostly by inference.
    Cores,
}

/// The estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Workers needed; with `met` false, the most there may be.
    pub workers: usize,
    /// Whether the goal is met.
    pub met: bool,
    /// Expected median delay, ms; infinite when the queue grows without end.
    pub p50_ms: f64,
    /// Expected 95th percentile, ms.
    pub p95_ms: f64,
    /// Mean batch size that the load leads to.
    pub batch: f64,
    /// Arrivals over what the workers reach in full batches.
    pub utilisation: f64,
    /// What gives out first.
    pub saturates: Saturates,
    /// Jobs a second at which it does.
    pub capacity: f64,
    /// Whether the estimate can be trusted: not over 85 % utilisation of what saturates first.
    pub trustworthy: bool,
}

/// Estimates the workers needed.
pub fn plan(ask: &Ask) -> Plan {
    let (saturates, capacity) = ask.limit();
    let most = ask.most_workers.clamp(1, MOST_WORKERS).min(ask.workers_by_cores());
    let met = (1..=most).find(|workers| ask.delay(*workers, 0.95) <= ask.p95_goal_ms);
    let workers = met.unwrap_or(most);
    let utilisation = ask.rate / (workers as f64 * ask.speed());
    Plan {
        workers,
        met: met.is_some() && ask.rate < capacity,
        p50_ms: ask.delay(workers, 0.5),
        p95_ms: ask.delay(workers, 0.95),
        batch: ask.batching(workers).size().max(1.0),
        utilisation,
        saturates,
        capacity,
        trustworthy: utilisation.max(ask.rate / capacity) <= TRUSTWORTHY,
    }
}

impl Ask {
    /// Images a second of one worker in full batches.
    fn speed(&self) -> f64 {
        let full = self.curve.full();
        full as f64 * 1000.0 / self.curve.ms(full as f64)
    }

    /// Workers that the cores left by decoding can feed.
    fn workers_by_cores(&self) -> usize {
        if self.cores_per_worker <= 0.0 {
            return MOST_WORKERS;
        }
        // The cast saturates.
        ((self.cores / self.cores_per_worker).floor() as usize).clamp(1, MOST_WORKERS)
    }

    /// What gives out first, and at how many jobs a second.
    fn limit(&self) -> (Saturates, f64) {
        let infer_ms = self.cores_per_worker * 1000.0 / self.speed();
        let by_cores = self.cores * 1000.0 / (self.decode_ms + infer_ms).max(f64::MIN_POSITIVE);
        let by_workers = self.most_workers.max(1).min(self.workers_by_cores()) as f64 * self.speed();
        match by_workers <= by_cores {
            true => (Saturates::Workers, by_workers),
            false if self.decode_ms > infer_ms => (Saturates::Decode, by_cores),
            false => (Saturates::Cores, by_cores),
        }
    }

    /// The queue with so many workers.
    fn batching(&self, workers: usize) -> Batching<'_> {
        Batching {
            curve: &self.curve,
            workers,
            per_ms: self.rate / 1000.0,
            arrivals_cv2: self.arrivals_cv2,
            service_cv2: self.service_cv2,
        }
    }

    /// The delay that the part `quantile` of jobs stays under, ms.
    fn delay(&self, workers: usize, quantile: f64) -> f64 {
        let queue = self.batching(workers).delay(quantile);
        queue.map_or(f64::INFINITY, |queue| self.overhead_ms + self.decode_ms + queue)
    }
}
