//! What the last scale-up really brought. While a backlog exists, workers work as fast as they can,
//! so what is settled a second before and after tells: a worker that brings next to nothing (the
//! cores, the memory bandwidth or the broker are used up) is undone and not tried again for a while.

use std::time::Duration;

/// Shortest measurement.
const SHORTEST: Duration = Duration::from_secs(2);
/// Jobs that must be settled for a measurement of a doubled fleet. A count of N scatters by
/// 1/sqrt(N), and the smaller the part of the fleet that is new, the finer it must be measured: so
/// many times the square of old over new workers. A gain is then known within a fifth of a worker.
const JOBS: f64 = 50.0;
/// A measurement older than this is of another time.
const COMPARABLE: Duration = Duration::from_secs(120);
/// A time per image this much different is another load.
const OTHER_LOAD: f64 = 0.25;
/// The time per image needs so long to settle after an undone scale-up: it is compared with what it
/// is then, not with what it was while more and more workers shared the host.
const SETTLING: Duration = Duration::from_secs(60);

/// What was seen at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) at: Duration,
    /// Workers that take jobs.
    pub(super) ready: usize,
    /// Whether every worker finds a job waiting.
    pub(super) backlogged: bool,
    /// Jobs settled since the last look.
    pub(super) settled: u64,
    /// Seconds per image.
    pub(super) service: f64,
    /// The host's cores; 0 when unknown.
    pub(super) cores: f64,
}

/// Throughput measured with a number of workers.
#[derive(Debug, Clone, Copy)]
struct Measured {
    workers: usize,
    since: Duration,
    at: Duration,
    settled: u64,
}

/// A count above which workers brought nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    pub(super) workers: usize,
    /// Part of one worker's throughput that each worker above brought.
    pub(super) gain: f64,
    pub(super) since: Duration,
    /// Seconds per image, once settled.
    service: Option<f64>,
    cores: f64,
}

/// The gain of scale-ups.
#[derive(Debug, Default)]
pub(super) struct Gain {
    before: Option<Measured>,
    running: Option<Measured>,
    judged: bool,
    /// Gain for each worker of the last scale-up that was measured.
    pub(super) last: Option<f64>,
    ceiling: Option<Ceiling>,
}

impl Measured {
    fn is_enough(&self) -> bool {
        self.at.saturating_sub(self.since) >= SHORTEST && self.settled as f64 >= JOBS
    }

    fn rate(&self) -> f64 {
        self.settled as f64 / self.at.saturating_sub(self.since).as_secs_f64()
    }
}

impl Gain {
    /// Takes a look. Returns the ceiling if it shows that the last scale-up brought less than `least`.
    pub(super) fn observe(&mut self, look: Look, least: f64) -> Option<Ceiling> {
        match &mut self.running {
            Some(running) if look.backlogged && running.workers == look.ready => {
                running.at = look.at;
                running.settled = running.settled.saturating_add(look.settled);
            }
            running => {
                let start = Measured { workers: look.ready, since: look.at, at: look.at, settled: 0 };
                let ended = std::mem::replace(running, (look.backlogged && look.ready > 0).then_some(start));
                self.before = ended.filter(Measured::is_enough).or(self.before);
                self.judged = false;
            }
        }
        self.judge(look, least)
    }

    fn judge(&mut self, look: Look, least: f64) -> Option<Ceiling> {
        let after = self.running.filter(|running| !self.judged && running.is_enough())?;
        let before = self.before.filter(|before| {
            before.workers < after.workers && after.since.saturating_sub(before.at) <= COMPARABLE && before.rate() > 0.0
        })?;
        let old_to_new = before.workers as f64 / (after.workers - before.workers) as f64;
        if (before.settled.min(after.settled) as f64) < JOBS * old_to_new.powi(2) {
            return None;
        }
        self.judged = true;
        let gain = (after.rate() / before.rate() - 1.0) * old_to_new;
        self.last = Some(gain);
        let Look { at: since, cores, .. } = look;
        let ceiling = Ceiling { workers: before.workers, gain, since, service: None, cores };
        self.ceiling = (gain < least).then_some(ceiling);
        self.ceiling
    }

    /// The remembered ceiling, until it is `remember` old or the load or the cores are others.
    pub(super) fn ceiling(&mut self, look: Look, remember: Duration) -> Option<Ceiling> {
        let mut ceiling = self.ceiling?;
        let age = look.at.saturating_sub(ceiling.since);
        let mut other_load = false;
        if age > SETTLING && look.ready == ceiling.workers {
            let settled = *ceiling.service.get_or_insert(look.service);
            other_load = (look.service / settled - 1.0).abs() > OTHER_LOAD;
        }
        let holds = age < remember && (look.cores - ceiling.cores).abs() < 0.01 && !other_load;
        self.ceiling = holds.then_some(ceiling);
        self.ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(second: u64, ready: usize, settled: u64) -> Look {
        Look { at: Duration::from_secs(second), ready, backlogged: true, settled, service: 0.01, cores: 2.0 }
    }

    /// Ten seconds with two workers at 100 jobs a second, then ten with four at `rate`.
    fn doubled(rate: u64) -> (Gain, Option<Ceiling>) {
        let mut gain = Gain::default();
        (0..10).for_each(|second| assert!(gain.observe(look(second, 2, 100), 0.05).is_none()));
        let verdict = (10..20).filter_map(|second| gain.observe(look(second, 4, rate), 0.05)).next();
        (gain, verdict)
    }

    #[test]
    fn workers_that_bring_nothing_are_noticed_and_remembered() {
        let (mut gain, verdict) = doubled(101);
        let verdict = verdict.unwrap();
        assert_eq!(verdict.workers, 2);
        assert!((verdict.gain - 0.01).abs() < 1e-9);
        let mut ceiling = |look| gain.ceiling(look, Duration::from_secs(600)).is_some();
        assert!(ceiling(look(100, 2, 0)));
        assert!(!ceiling(look(700, 2, 0)));
    }

    #[test]
    fn other_cores_or_another_load_are_another_chance() {
        let remember = Duration::from_secs(600);
        assert!(doubled(100).0.ceiling(Look { cores: 4.0, ..look(60, 2, 0) }, remember).is_none());
        let (mut gain, _) = doubled(100);
        let mut holds = |second, service| gain.ceiling(Look { service, ..look(second, 2, 0) }, remember).is_some();
        assert!(holds(30, 0.05) && holds(100, 0.01) && holds(200, 0.012) && !holds(300, 0.02));
    }

    #[test]
    fn a_full_gain_is_one_worker_for_each() {
        let (gain, verdict) = doubled(200);
        assert!(verdict.is_none());
        assert!((gain.last.unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_backlog_there_is_no_verdict() {
        let mut gain = Gain::default();
        (0..10).for_each(|second| assert!(gain.observe(look(second, 2, 100), 0.05).is_none()));
        for second in 10..60 {
            let verdict = gain.observe(Look { backlogged: false, ..look(second, 4, 100) }, 0.05);
            assert!(verdict.is_none() && gain.last.is_none());
        }
    }
}
