//! How long a new job would wait: what is ahead of it over the rate at which it is worked off. Pure:
//! time comes from outside.
//!
//! The rate is measured while jobs wait (then the workers work as fast as they can) and taken from
//! the workers' own measurement before that. Whoever is refused gets a time to come back at which a
//! place is kept for the same question: a `Retry-After` that is obeyed is not refused again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shoal_shared::digest::CacheKey;

/// What is older than this says nothing about now.
const STALE: Duration = Duration::from_secs(5);
/// Weight of the newest measurement of the rate.
const SMOOTHING: f64 = 0.3;
/// Workers reach this part of what they measured alone: decoding and the path take the rest.
const PRUDENCE: f64 = 0.7;
/// Part of the rate that is left for interactive jobs while bulk jobs wait: four turns of five.
const BESIDE_BULK: f64 = 0.8;
/// A kept place is free again this long after its time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Places kept at most.
const MOST_KEPT: usize = 10_000;
/// Nobody is told to come back later than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

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
    kept: HashMap<CacheKey, Instant>,
    /// Time of the next place that can be promised.
    next_place: Option<Instant>,
}

/// A request that could not meet its deadline.
#[derive(Debug, PartialEq)]
pub(super) struct TooLong {
    pub(super) wait: Duration,
    pub(super) retry_after: Duration,
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

    /// Jobs that can be in flight and still meet a deadline of `timeout`.
    pub(super) fn room(&self, timeout: Duration) -> Option<usize> {
        Some((self.rate()? * timeout.as_secs_f64()) as usize)
    }

    /// How long a job that comes in now would wait; `None` while nothing is known.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let last = self.last.filter(|last| now.saturating_duration_since(last.at) < STALE)?;
        let rate = self.rate()?;
        let done = rate * now.saturating_duration_since(last.at).as_secs_f64();
        let ahead = (last.ahead as f64 + self.entered as f64 - done).max(0.0);
        Some(Duration::from_secs_f64(ahead / rate))
    }

    /// Lets a job in that will meet its deadline, or that was told to come back now.
    pub(super) fn enter(&mut self, key: &CacheKey, remaining: Duration, now: Instant) -> Result<(), TooLong> {
        let was_promised = self.kept.get(key).is_some_and(|&due| due <= now + Duration::from_secs(1));
        if was_promised {
            self.kept.remove(key);
            self.entered += 1;
            return Ok(());
        }
        let (Some(wait), Some(rate)) = (self.wait(now), self.rate()) else {
            self.entered += 1;
            return Ok(());
        };
        // Places kept for others are taken already.
        self.kept.retain(|_, due| now < *due + PATIENCE);
        let wait = wait + Duration::from_secs_f64(self.kept.len() as f64 / rate);
        if wait <= remaining {
            self.entered += 1;
            return Ok(());
        }
        let retry_after = self.keep(key, wait.saturating_sub(remaining), rate, now);
        Err(TooLong { wait, retry_after })
    }

    /// Keeps a place for whoever asks the same at its time.
    fn keep(&mut self, key: &CacheKey, after: Duration, rate: f64, now: Instant) -> Duration {
        let earliest = now + after;
        let due = match self.kept.get(key) {
            Some(&due) => due,
            None => self.next_place.map_or(earliest, |next| next.max(earliest)),
        };
        self.next_place = Some(due + Duration::from_secs_f64(1.0 / rate));
        let pause = due.saturating_duration_since(now).min(LONGEST_PAUSE);
        if self.kept.len() < MOST_KEPT {
            self.kept.insert(key.clone(), due);
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use shoal_shared::digest::{DigestKind, ImageKey, ModelDigest};

    use super::*;

    fn digest() -> ModelDigest {
        serde_json::from_str("\"00112233445566778899aabbccddeeff\"").unwrap()
    }

    fn key(number: u32) -> CacheKey {
        CacheKey { model: digest(), image: ImageKey::of(DigestKind::Sha256, &number.to_le_bytes()) }
    }

    fn idle(at: Instant) -> Observation {
        Observation { at, ahead: 0, waiting: 0, bulk_waits: false, settled: 0, speed: 100.0, workers: 1 }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_news_everybody_is_let_in() {
        let mut forecast = Forecast::default();
        (0..100_000).for_each(|n| forecast.enter(&key(n), Duration::ZERO, Instant::now()).unwrap());
    }

    #[test]
    fn a_burst_is_let_in_as_far_as_the_deadline_reaches() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        forecast.observe(idle(now));
        // 70 jobs a second and one second: seventy, and the one that starts at once.
        let entered = (0..200).filter(|&n| forecast.enter(&key(n), SECOND, now).is_ok()).count();
        assert_eq!(entered, 71);
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
    fn whoever_obeys_is_let_in_and_no_place_is_promised_twice() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        forecast.observe(Observation { ahead: 700, ..idle(now) });
        let promises: Vec<Duration> =
            (0..50).map(|n| forecast.enter(&key(n), SECOND, now).unwrap_err().retry_after).collect();
        assert!(promises.windows(2).all(|pair| pair[0] < pair[1]), "{promises:?}");
        // The wait is 10 s, a second of it is within the deadline: the first place is free in 9.
        assert!(promises[0] >= SECOND * 9 && promises[49] < SECOND * 11, "{promises:?}");
        for (n, promise) in (0..).zip(promises) {
            let then = now + promise;
            forecast.observe(Observation { ahead: 70, ..idle(then) });
            assert!(forecast.enter(&key(1000 + n), SECOND, then).is_err(), "a newcomer took the place");
            forecast.enter(&key(n), SECOND, then).unwrap();
        }
    }

    #[test]
    fn old_news_is_no_news() {
        let now = Instant::now();
        let mut forecast = Forecast::default();
        forecast.observe(Observation { ahead: 1_000_000, ..idle(now) });
        assert!(forecast.enter(&key(0), SECOND, now).is_err());
        assert_eq!(forecast.wait(now + STALE), None);
        forecast.enter(&key(1), SECOND, now + STALE).unwrap();
    }
}
