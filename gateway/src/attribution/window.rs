//! The samples of the last ten seconds, and the situation they add up to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use shoal_shared::attribution::{HostUse, Situation, Use};
use shoal_shared::metrics::LATENCY_BUCKETS;
use shoal_shared::names::NodeId;
use shoal_shared::presence::{Used, WorkerState, WorkerStatus};
use shoal_shared::process::{available_cores, host, host_name};
use shoal_shared::status::{BySource, Percentiles};

use crate::metrics::Computed;
use crate::predict::Predictor;

/// Samples that are looked at: ten seconds.
const SAMPLES: usize = 11;

/// Every counter at one moment.
pub(super) struct Sample {
    at: Instant,
    /// Whether anything was asked since the sample before it, or is being worked on.
    busy_since: bool,
    answered: [u64; 4],
    buckets: Vec<u64>,
    refused: u64,
    computed: Computed,
    /// Busy seconds of the runtime's threads.
    pub(super) busy: f64,
    /// Their number.
    pub(super) threads: usize,
    own_cpu: f64,
    host_cpu: f64,
    workers: HashMap<NodeId, WorkerStatus>,
}

impl Sample {
    pub(super) fn take(predictor: &Predictor) -> Self {
        let metrics = predictor.metrics();
        let runtime = tokio::runtime::Handle::current().metrics();
        let threads = runtime.num_workers();
        let busy = (0..threads).map(|thread| runtime.worker_total_busy_duration(thread).as_secs_f64()).sum();
        let workers = predictor.models().fleet().workers();
        Self {
            at: Instant::now(),
            busy_since: metrics.in_flight.get() > 0,
            answered: metrics.answered(),
            buckets: metrics.request_buckets(),
            refused: metrics.refusals(),
            computed: metrics.computed(),
            busy,
            threads,
            own_cpu: host::process_cpu(),
            host_cpu: host::cpu_times().unwrap_or_default().used,
            workers: workers.into_iter().map(|worker| (worker.id.clone(), worker)).collect(),
        }
    }
}

/// The newest samples, the oldest first.
#[derive(Default)]
pub(super) struct Window(VecDeque<Sample>);

impl Window {
    pub(super) fn push(&mut self, mut sample: Sample) {
        let before = self.0.back();
        sample.busy_since |=
            before.is_none_or(|before| (before.answered, before.refused) != (sample.answered, sample.refused));
        self.0.push_back(sample);
        if self.0.len() > SAMPLES {
            self.0.pop_front();
        }
    }

    /// Samples since the load that there is now began: seconds in which nothing was asked say nothing about it.
    fn under_load(&self) -> impl Iterator<Item = &Sample> {
        let busy: Vec<bool> = self.0.iter().map(|sample| sample.busy_since).collect();
        self.0.iter().skip(onset(&busy))
    }

    pub(super) fn situation(&self, predictor: &Predictor) -> Situation {
        let (Some(then), Some(now)) = (self.under_load().next(), self.0.back()) else { return Situation::default() };
        let seconds = now.at.duration_since(then.at).as_secs_f64().max(1e-3);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let computed = now.computed.count - then.computed.count;
        let workers: Vec<Pace> = now.workers.values().filter_map(|worker| self.pace(worker)).collect();
        let queues = predictor.admission().queues();
        Situation {
            answered: rate(now.answered.iter().sum(), then.answered.iter().sum()),
            computed: computed as f64 / seconds,
            inferred: workers.iter().map(|pace| pace.images).sum(),
            refused: rate(now.refused, then.refused),
            stages: now.computed.stages.mean_since(&then.computed.stages, computed as f64),
            gateway: Use { busy: (now.busy - then.busy).max(0.0) / seconds, capacity: now.threads as f64 },
            decode: total(&workers, |pace| (pace.decoding, f64::from(pace.status.used.decode_threads))),
            inference: total(&workers, |pace| (pace.sessions, 1.0)),
            workers: workers.len(),
            hosts: hosts(
                &workers,
                &self.idle_cpu(),
                (now.host_cpu - then.host_cpu) / seconds,
                (now.own_cpu - then.own_cpu) / seconds,
            ),
            waiting: queues.waiting,
            wait: queues.wait.as_secs_f64(),
            speed: workers.iter().map(|pace| 1e3 / f64::from(pace.status.model.image_ms.max(1e-3))).sum(),
            int8_would_help: workers.iter().any(|pace| pace.status.used.int8_would_help),
        }
    }

    /// Predictions answered a second, by where the answer came from.
    pub(super) fn answered(&self) -> BySource {
        let (Some(then), Some(now)) = (self.0.front(), self.0.back()) else { return BySource::default() };
        let seconds = now.at.duration_since(then.at).as_secs_f64().max(1e-3);
        let rate = |index: usize| now.answered[index].saturating_sub(then.answered[index]) as f64 / seconds;
        // In the order of `Source::ALL`.
        BySource { hit: rate(0), shared: rate(1), coalesced: rate(2), miss: rate(3) }
    }

    /// Latency of requests for predictions, milliseconds.
    pub(super) fn latency(&self) -> Option<Percentiles> {
        let (then, now) = (self.0.front()?, self.0.back()?);
        let counts: Vec<u64> = now.buckets.iter().zip(&then.buckets).map(|(now, then)| now - then).collect();
        Some(Percentiles::of(LATENCY_BUCKETS, &counts)?.times(1e3))
    }

    /// CPU of workers that are draining, by host: it is the fleet's own too.
    fn idle_cpu(&self) -> Vec<(String, f64)> {
        let Some(now) = self.0.back() else { return Vec::new() };
        let draining = now.workers.values().filter(|worker| !worker.takes_jobs());
        let cpu = |worker: &WorkerStatus| {
            let first = self.0.iter().find_map(|sample| sample.workers.get(&worker.id))?;
            let seconds = worker.used.uptime - first.used.uptime;
            (seconds > 0.0).then(|| (worker.host.clone(), (worker.used.cpu - first.used.cpu).max(0.0) / seconds))
        };
        draining.filter_map(cpu).collect()
    }

    /// What a worker has done a second since it was first seen under this load; `None` for one that does
    /// not take jobs.
    fn pace<'a>(&'a self, worker: &'a WorkerStatus) -> Option<Pace<'a>> {
        if worker.state != WorkerState::Ready {
            return None;
        }
        let seen = |sample: &'a Sample| sample.workers.get(&worker.id);
        // It tells of itself once a second, and may not have since the load began.
        let first = self.under_load().find_map(seen).filter(|first| first.used.uptime < worker.used.uptime);
        let first = first.or_else(|| self.0.iter().find_map(seen))?;
        let (then, now) = (&first.used, &worker.used);
        let seconds = now.uptime - then.uptime;
        let per_second =
            |of: fn(&Used) -> f64| if seconds > 0.0 { (of(now) - of(then)).max(0.0) / seconds } else { 0.0 };
        Some(Pace {
            status: worker,
            images: if seconds > 0.0 { worker.images.saturating_sub(first.images) as f64 / seconds } else { 0.0 },
            sessions: per_second(|used| used.sessions),
            decoding: per_second(|used| used.decoding),
            cpu: per_second(|used| used.cpu),
            host_cpu: per_second(|used| used.host_cpu),
        })
    }
}

/// The sample at which the load that there is now began, or the first one; `busy` says of each whether anything was asked
/// since the one before it.
fn onset(busy: &[bool]) -> usize {
    let quiet = busy.iter().rposition(|busy| !busy);
    quiet.filter(|at| at + 1 < busy.len()).unwrap_or(0)
}

/// What a worker does a second.
struct Pace<'a> {
    status: &'a WorkerStatus,
    images: f64,
    sessions: f64,
    decoding: f64,
    cpu: f64,
    host_cpu: f64,
}

fn total(workers: &[Pace<'_>], of: impl Fn(&Pace<'_>) -> (f64, f64)) -> Use {
    workers
        .iter()
        .map(of)
        .fold(Use::default(), |sum, (busy, capacity)| Use { busy: sum.busy + busy, capacity: sum.capacity + capacity })
}

/// The hosts of the workers, and this gateway's, which it reads itself.
fn hosts(workers: &[Pace<'_>], idle: &[(String, f64)], own_host_cpu: f64, own_cpu: f64) -> Vec<HostUse> {
    let mut hosts: BTreeMap<String, HostUse> = BTreeMap::new();
    for (host, cpu) in idle {
        hosts.entry(host.clone()).or_default().own += cpu;
    }
    for pace in workers {
        let host = hosts.entry(pace.status.host.clone()).or_default();
        host.cpu.busy = host.cpu.busy.max(pace.host_cpu);
        host.cpu.capacity = host.cpu.capacity.max(f64::from(pace.status.used.cores));
        host.own += pace.cpu;
        host.session_threads += f64::from(pace.status.used.session_threads);
    }
    let here = hosts.entry(host_name()).or_default();
    here.cpu = Use { busy: own_host_cpu.max(0.0), capacity: available_cores() as f64 };
    here.own += own_cpu.max(0.0);
    hosts.into_iter().map(|(name, host)| HostUse { host: name, ..host }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_judged_from_its_beginning() {
        assert_eq!(onset(&[false, false, true, true]), 1);
        assert_eq!(onset(&[true, false, true]), 1);
        // One that goes on, one that has just ended, nothing at all.
        assert_eq!(onset(&[true, true]), 0);
        assert_eq!(onset(&[false, true, false]), 0);
        assert_eq!(onset(&[]), 0);
    }
}
