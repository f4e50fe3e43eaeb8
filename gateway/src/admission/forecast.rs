//! How long a new job would wait: what is ahead of it over the rate at which it is worked off. Pure:
//! time comes from outside.
//!
//! The rate is measured while jobs wait (then the workers work as fast as they can) and taken from
//! the workers' own measurement before that.

use std::time::{Duration, Instant};

/// What is older than this says nothing about now.
const STALE: Duration = Duration::from_secs(5);
/// Weight of the newest measurement of the rate.
const SMOOTHING: f64 = 0.3;
/// Workers reach this part of what they measured alone: decoding and the path take the rest.
const PRUDENCE: f64 = 0.7;
/// Part of the rate that is left for interactive jobs while bulk jobs wait: four turns of five.
const BESIDE_BULK: f64 = 0.8;
/// The state of a model's queue at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// When.
    pub at: Instant,
    /// Interactive jobs that wait or are being worked on.
    pub ahead: u64,
    /// Jobs of any lane that wait for a worker.
    pub waiting: u64,
    /// Whether bulk jobs are among them.
    pub bulk_waits: bool,
    /// Jobs settled since the consumers were made, all lanes.
    pub settled: u64,
    /// Images a second that the workers reach by their own measurement.
    pub speed: f64,
    /// Workers that take jobs.
    pub workers: usize,
}

/// The forecast for one model.
#[derive(Default)]
pub(super) struct Forecast {
    last: Option<Observation>,
    /// Jobs a second, measured while jobs waited, with the workers of that time.
    measured: Option<(f64, usize)>,
    /// Let in since the last observation.
    entered: u64,
}

impl Forecast {
    pub(super) fn observe(&mut self, now: Observation) {
        if let Some(before) = self.last.filter(|before| before.waiting > 0 && now.waiting > 0) {
            let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
            let settled = now.settled.saturating_sub(before.settled) as f64;
            if seconds > 0.05 && now.workers > 0 {
                let rate = settled / seconds;
                let known = self.measured.filter(|(_, workers)| *workers == now.workers).map(|(rate, _)| rate);
                let smoothed = known.map_or(rate, |known| known + SMOOTHING * (rate - known));
                self.measured = Some((smoothed, now.workers));
            }
        }
        self.last = Some(now);
        self.entered = 0;
    }

    /// Jobs a second; `None` while nothing is known.
    pub(super) fn rate(&self) -> Option<f64> {
        let last = self.last?;
        let rate = match self.measured {
            Some((rate, workers)) => rate * last.workers as f64 / workers as f64,
            None => last.speed * PRUDENCE,
        };
        let share = if last.bulk_waits { BESIDE_BULK } else { 1.0 };
        (rate > 0.0).then_some(rate * share)
    }

    /// How long a job that comes in now would wait; `None` while nothing is known.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let last = self.last.filter(|last| now.saturating_duration_since(last.at) < STALE)?;
        let rate = self.rate()?;
        let done = rate * now.saturating_duration_since(last.at).as_secs_f64();
        let ahead = (last.ahead as f64 + self.entered as f64 - done).max(0.0);
        Some(Duration::from_secs_f64(ahead / rate))
    }

    /// Jobs that no worker had yet when the queue was last looked at.
    pub(super) fn waiting(&self, now: Instant) -> u64 {
        self.last.filter(|last| now.saturating_duration_since(last.at) < STALE).map_or(0, |last| last.waiting)
    }

    /// Whether anything was ever observed.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// One more job comes in.
    pub(super) fn enter(&mut self) {
        self.entered += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn idle(at: Instant) -> Observation {
        Observation { at, ahead: 0, waiting: 0, bulk_waits: false, settled: 0, speed: 100.0, workers: 1 }
    }

    #[test]
    fn the_rate_is_what_was_settled_while_jobs_waited() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        let observe = |second: u32, settled, workers| Observation {
            ahead: 500,
            waiting: 400,
            settled,
            workers,
            ..idle(now + SECOND * second)
        };
        forecast.observe(observe(0, 0, 1));
        forecast.observe(observe(1, 40, 1));
        assert_eq!(forecast.rate(), Some(40.0));
        assert_eq!(forecast.wait(now + SECOND), Some(Duration::from_millis(12_500)));
        // Another worker joins: as fast again, until that is measured too.
        forecast.last = Some(observe(1, 40, 2));
        assert_eq!(forecast.rate(), Some(80.0));
    }

    #[test]
    fn those_who_came_since_the_last_look_count() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        forecast.observe(idle(now));
        (0..70).for_each(|_| forecast.enter());
        assert_eq!(forecast.wait(now), Some(SECOND));
    }

    #[test]
    fn old_news_is_no_news() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        forecast.observe(Observation { ahead: 1_000_000, ..idle(now) });
        assert!(forecast.wait(now).is_some());
        assert_eq!(forecast.wait(now + STALE), None);
    }
}
