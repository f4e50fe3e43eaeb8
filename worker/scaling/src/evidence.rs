//! What the signals say when taken together over time: the numbers that decisions are made from.

use std::time::Duration;

use super::belief::{Belief, Reported};
use super::counter::Counter;
use super::decision::Inputs;
use super::demand::Load;
use super::gain::Look;
use super::rate::Rate;
use super::settings::Settings;
use super::signals::{Queue, Signals};
use super::startup::StartUp;

/// Time constant of the smoothing of service time and busy fraction, seconds.
const SMOOTHING: f64 = 15.0;

/// What was learned of a fleet.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    published: Counter,
    settled: Counter,
    arrivals: Rate,
    /// Images a second of one worker, mean of the fleet.
    speed: Smooth,
    busy: Smooth,
    pub(super) startup: StartUp,
    pub(super) belief: Belief,
    /// When there was a job last, or when the policy started.
    pub(super) active_at: Option<Duration>,
}

/// One look at the fleet.
#[derive(Debug)]
pub(super) struct View {
    pub(super) inputs: Inputs,
    pub(super) load: Load,
    /// Whether there is a job, or one came since the last look.
    pub(super) active: bool,
    pub(super) look: Look,
}

/// An exponentially weighted mean over time.
#[derive(Debug, Default)]
struct Smooth {
    value: Option<(Duration, f64)>,
}

impl Smooth {
    fn observe(&mut self, at: Duration, new: f64) {
        let value = self.value.map_or(new, |(then, old)| {
            let weight = 1.0 - (-at.saturating_sub(then).as_secs_f64() / SMOOTHING).exp();
            old + weight * (new - old)
        });
        self.value = Some((at, value));
    }

    fn get(&self) -> Option<f64> {
        self.value.map(|(_, value)| value)
    }
}

impl Evidence {
    /// Takes in one set of signals.
    pub(super) fn read(&mut self, signals: &Signals, settings: &Settings) -> View {
        let at = signals.at;
        let (unheard, busy_now) = self.listen(signals, settings);
        signals.started_in.iter().for_each(|after| self.startup.observe(*after));
        let coming = self.startup.coming(&signals.starting, at, settings.assumed_startup);
        let startup = self.startup.expected(settings.assumed_startup).as_secs_f64();
        let Counts { settled, backlog, believed, active } = match signals.queue {
            Some(queue) => self.count(&queue, signals, busy_now),
            None => Counts::default(),
        };
        let service = self.speed.get().map(|speed| 1.0 / speed);
        let soon: f64 = coming.remaining.iter().map(|remaining| startup - remaining).sum();
        let load = Load {
            arrivals: self.arrivals.per_second(),
            service: service.unwrap_or(0.0),
            backlog: believed as f64,
            startup,
            capacity: signals.ready as f64 * startup + soon,
        };
        let cpu = signals.cores();
        let look = Look {
            at,
            ready: signals.ready,
            backlogged: signals.queue.is_some() && believed >= signals.ready.max(1) as u64,
            settled,
            service: load.service,
            cores: cpu.map_or(0.0, |cpu| cpu.cores),
        };
        let inputs = Inputs {
            backlog: signals.queue.map(|_| backlog),
            believed,
            backlog_seconds: service
                .filter(|_| signals.ready > 0)
                .map(|service| believed as f64 * service / signals.ready as f64),
            oldest_seconds: signals.queue.and_then(|queue| queue.oldest).map(|age| age.as_secs_f64()),
            arrivals: load.arrivals,
            service,
            busy: self.busy.get(),
            batch_fill: signals.batch_fill.filter(|fill| fill.is_finite()),
            ready: signals.ready,
            unheard,
            coming: coming.remaining.len(),
            written_off: coming.written_off,
            draining: signals.draining,
            startup,
            cores: cpu.map(|cpu| cpu.cores),
            busy_cores: cpu.map(|cpu| cpu.busy),
            ..Inputs::default()
        };
        View { inputs, load, active, look }
    }

    /// What workers say of themselves: how many say nothing, and how busy the others are now.
    fn listen(&mut self, signals: &Signals, settings: &Settings) -> (usize, f64) {
        let fresh: Vec<_> = signals.fresh(settings.stale_heartbeat).collect();
        let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let busy = mean(fresh.iter().filter_map(|heartbeat| heartbeat.busy()).collect());
        if let Some(speed) = mean(fresh.iter().filter_map(|heartbeat| heartbeat.speed()).collect()) {
            self.speed.observe(signals.at, speed);
        }
        if let Some(busy) = busy {
            self.busy.observe(signals.at, busy);
        }
        // Workers that are there but not heard are as busy as they were, not idle.
        (signals.ready - fresh.len(), busy.or(self.busy.get()).unwrap_or(1.0))
    }

    fn count(&mut self, queue: &Queue, signals: &Signals, busy: f64) -> Counts {
        let (at, ready) = (signals.at, signals.ready);
        let published = self.published.advance(queue.published);
        let settled = self.settled.advance(queue.settled);
        self.arrivals.observe(at, published);
        let active = published > 0 || !queue.is_empty();
        if active || self.active_at.is_none() {
            self.active_at = Some(at);
        }
        let Queue { pending, ack_pending, .. } = *queue;
        let reported = Reported { at, pending, ack_pending, published, settled, ready, busy };
        Counts { settled, backlog: reported.backlog(), believed: self.belief.believe(reported), active }
    }
}

/// What the queue's numbers come to.
#[derive(Debug, Default)]
struct Counts {
    /// Settled since the last look.
    settled: u64,
    /// Jobs that are said to wait.
    backlog: u64,
    /// The part of them to act on.
    believed: u64,
    /// Whether there is a job, or one came since the last look.
    active: bool,
}
