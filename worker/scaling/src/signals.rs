//! What the policy sees of a fleet at one moment. Values are taken as they come; what cannot be
//! true is sorted out here and in `counter`, `belief`.

use std::time::Duration;

/// Shortest time per image that is believed, seconds.
const FASTEST_IMAGE: f64 = 1e-6;
/// Longest time per image that is believed, seconds.
const SLOWEST_IMAGE: f64 = 3600.0;

/// The fleet of one model at one moment.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// When, since the policy's start. Times of other signals count from the same start.
    pub at: Duration,
    /// The model's queue; `None` when the broker did not answer.
    pub queue: Option<Queue>,
    /// Workers that run and take jobs, as their supervisor counts processes (not heartbeats).
    pub ready: usize,
    /// When each worker that is not ready yet was ordered.
    pub starting: Vec<Duration>,
    /// Workers that finish what they hold and take nothing more.
    pub draining: usize,
    /// The last thing heard of each ready worker.
    pub heartbeats: Vec<Heartbeat>,
    /// From order to ready, of each worker that became ready since the last look.
    pub started_in: Vec<Duration>,
    /// Images in a batch over what a batch may hold, 0 to 1.
    pub batch_fill: Option<f64>,
    /// The host's cores.
    pub cpu: Option<Cpu>,
    /// Threads of each running worker's session.
    pub threads: usize,
}

/// A model's queue, all lanes. Counters count since the stream was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queue {
    /// Jobs that no worker has.
    pub pending: u64,
    /// Jobs that a worker has, or had when it died.
    pub ack_pending: u64,
    /// Age of the oldest job.
    pub oldest: Option<Duration>,
    /// Jobs ever published.
    pub published: u64,
    /// Jobs ever settled.
    pub settled: u64,
}

/// What a worker said last.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// How long ago.
    pub age: Duration,
    /// Part of its time in inference, 0 to 1.
    pub busy: f64,
    /// Measured time per image in the batches of late, seconds.
    pub seconds_per_image: f64,
}

/// The host's cores, or the part of them that the fleet's cgroup may use.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// How many; a cgroup's quota may be a fraction.
    pub cores: f64,
    /// How many are busy, by whatever process.
    pub busy: f64,
}

impl Heartbeat {
    /// The part of its time in inference, if that is a number.
    pub(super) fn busy(&self) -> Option<f64> {
        self.busy.is_finite().then(|| self.busy.clamp(0.0, 1.0))
    }

    /// Images a second, if the time per image can be true.
    pub(super) fn speed(&self) -> Option<f64> {
        (FASTEST_IMAGE..=SLOWEST_IMAGE).contains(&self.seconds_per_image).then(|| 1.0 / self.seconds_per_image)
    }
}

impl Signals {
    /// Heartbeats young enough to count, for at most as many workers as there are.
    pub(super) fn fresh(&self, stale: Duration) -> impl Iterator<Item = &Heartbeat> {
        self.heartbeats.iter().filter(move |heartbeat| heartbeat.age <= stale).take(self.ready)
    }

    /// The cores, if both numbers can be true.
    pub(super) fn cores(&self) -> Option<Cpu> {
        self.cpu.filter(|cpu| cpu.cores.is_finite() && cpu.cores > 0.0 && cpu.busy.is_finite() && cpu.busy >= 0.0)
    }
}

impl Queue {
    /// Whether there is no job at all, neither waiting nor in progress.
    pub(super) fn is_empty(&self) -> bool {
        self.pending == 0 && self.ack_pending == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_true_is_not_heard() {
        let heard = |busy, seconds_per_image| Heartbeat { age: Duration::ZERO, busy, seconds_per_image };
        assert_eq!(heard(f64::NAN, 0.1).busy(), None);
        assert_eq!(heard(7.0, 0.1).busy(), Some(1.0));
        for wrong in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            assert_eq!(heard(0.5, wrong).speed(), None);
        }
        let host = |cores, busy| Signals { cpu: Some(Cpu { cores, busy }), ..Signals::default() }.cores().is_some();
        assert!(host(2.0, 1.9) && !host(0.0, 0.0) && !host(2.0, f64::NAN));
    }
}
