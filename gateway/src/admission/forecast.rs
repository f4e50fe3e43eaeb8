//! How long a new job would wait: what is ahead of it over the rate at which it is worked off. Pure:
//! time comes from outside.
//!
//! The rate is measured while jobs wait (then the workers work as fast as they can) and taken from
//! the workers' own measurement before that.

use std::time::{Duration, Instant};

/// What is older than this says nothing about now.
const STALE: Duration = Duration::from_secs(5);
/// Seconds that the measured rate looks back: longer than a batch takes, in which nothing is settled till its end.
const MEMORY: f64 = 3.0;
/// Seconds that the workers' own measurement weighs beside it.
const TRUST: f64 = 0.5;
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
    /// Measured while jobs waited.
    measured: Option<Measured>,
    /// Let in since the last observation.
    entered: u64,
}

/// What was settled of late, by how many workers. Older times count less and less.
struct Measured {
    settled: f64,
    seconds: f64,
    workers: usize,
}

impl Measured {
    /// Before anything was measured: what the workers say.
    fn expected(now: &Observation) -> Self {
        Self { settled: now.speed * PRUDENCE * TRUST, seconds: TRUST, workers: now.workers }
    }

    fn add(&mut self, settled: f64, seconds: f64) {
        let fading = (-seconds / MEMORY).exp();
        (self.settled, self.seconds) = (self.settled * fading + settled, self.seconds * fading + seconds);
    }

    /// Jobs a second, with so many workers.
    fn rate(&self, workers: usize) -> f64 {
        self.settled / self.seconds * workers as f64 / self.workers as f64
    }
}

impl Forecast {
    pub(super) fn observe(&mut self, now: Observation) {
        if let Some(before) = self.last.filter(|before| before.waiting > 0 && now.waiting > 0) {
            let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
            let settled = now.settled.saturating_sub(before.settled) as f64;
            if seconds > 0.05 && now.workers > 0 {
                let known = self.measured.take().filter(|known| known.workers == now.workers);
                let mut measured = known.unwrap_or_else(|| Measured::expected(&now));
                measured.add(settled, seconds);
                self.measured = Some(measured);
            }
        }
        self.last = Some(now);
        self.entered = 0;
    }

    /// Jobs a second; `None` while nothing is known.
    pub(super) fn rate(&self) -> Option<f64> {
        let last = self.last?;
        let rate = match &self.measured {
            Some(measured) => measured.rate(last.workers),
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

    /// Under load, with so much settled till then.
    fn busy(at: Instant, settled: u64, workers: usize) -> Observation {
        Observation { ahead: 500, waiting: 400, settled, workers, ..idle(at) }
    }

    #[test]
    fn the_rate_is_what_was_settled_while_jobs_waited() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        forecast.observe(busy(now, 0, 1));
        assert_eq!(forecast.rate(), Some(70.0));
        forecast.observe(busy(now + SECOND, 40, 1));
        let rate = forecast.rate().unwrap();
        assert!(rate > 40.0 && rate < 50.0, "{rate}: what the workers say still counts a little");
        (2..20).for_each(|second| forecast.observe(busy(now + SECOND * second, 40 * u64::from(second), 1)));
        let rate = forecast.rate().unwrap();
        assert!((rate - 40.0).abs() < 0.1, "{rate}");
        assert!((forecast.wait(now + SECOND * 19).unwrap().as_secs_f64() - 12.5).abs() < 0.1);
        // Another worker joins: as fast again, until that is measured too.
        forecast.last = Some(busy(now + SECOND * 19, 40 * 19, 2));
        assert!((forecast.rate().unwrap() - 80.0).abs() < 0.2);
    }

    #[test]
    fn a_batch_that_takes_long_is_no_standstill() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        // Looked at every quarter of a second; eight jobs end together every 1.5 s.
        let looks = (0..60).map(|look| busy(now + SECOND * look / 4, u64::from(look / 6 * 8), 1));
        let rates: Vec<f64> = looks
            .filter_map(|look| {
                forecast.observe(look);
                forecast.rate()
            })
            .collect();
        let (least, most) =
            rates[24..].iter().fold((f64::MAX, 0f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
        assert!(least > 8.0 / 1.5 * 0.7 && most < 8.0 / 1.5 * 1.6, "{least} to {most}");
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
