//! How much each caller may ask: a token bucket a minute in this gateway, and a quota a day that all
//! gateways share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use parking_lot::Mutex;
use shoal_nats::Bus;
use shoal_shared::process::shutdown::Shutdown;

use super::caller::Allowance;
use super::now;

/// Callers that are remembered at once.
const MAX_CALLERS: u64 = 100_000;
/// How often a gateway reports what it has counted, and learns what the others have.
const REPORT: Duration = Duration::from_secs(1);
/// Seconds of a day.
const DAY: u64 = 86_400;

/// What is left to a caller; in the answer's headers (`RateLimit-*`, draft-ietf-httpapi-ratelimit-headers-07).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Requests in the window.
    pub(crate) limit: u64,
    /// Of these, still free.
    pub(crate) remaining: u64,
    /// Seconds until all are free again.
    pub(crate) reset: u64,
    /// Set when this request is one too many: what passed, and when to come back.
    pub(crate) refused: Option<(&'static str, Duration)>,
}

/// Counts requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rates {
    default_per_minute: u32,
    buckets: Cache<String, Arc<Mutex<Bucket>>>,
    days: Cache<String, Arc<Mutex<Day>>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Takes one token of a bucket that holds a minute's worth.
    fn take(&mut self, per_minute: u32, now: Instant) -> Left {
        let (size, rate) = (f64::from(per_minute), f64::from(per_minute) / 60.0);
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(size);
        self.filled = now;
        let refused = (self.tokens < 1.0).then(|| Duration::from_secs_f64((1.0 - self.tokens) / rate));
        if refused.is_none() {
            self.tokens -= 1.0;
        }
        Left {
            limit: per_minute.into(),
            remaining: self.tokens as u64,
            reset: ((size - self.tokens) / rate).ceil() as u64,
            refused: refused.map(|wait| ("the rate of requests a minute", wait)),
        }
    }
}

#[derive(Default)]
struct Day {
    day: u64,
    /// What all gateways have counted, as of the last report.
    reported: u64,
    /// What this one has counted since.
    fresh: u64,
}

impl Day {
    /// Counts one request of a quota at a time in Unix seconds.
    fn count(&mut self, quota: u64, now: u64) -> Left {
        if self.day != now / DAY {
            *self = Day { day: now / DAY, ..Day::default() };
        }
        let (used, reset) = (self.reported + self.fresh, DAY - now % DAY);
        let refused = (used >= quota).then(|| ("the quota of requests a day", Duration::from_secs(reset)));
        if refused.is_none() {
            self.fresh += 1;
        }
        Left { limit: quota, remaining: quota.saturating_sub(self.reported + self.fresh), reset, refused }
    }
}

impl Rates {
    pub(crate) fn new(default_per_minute: u32) -> Self {
        let idle = Duration::from_secs(120);
        Self {
            default_per_minute,
            buckets: Cache::builder().max_capacity(MAX_CALLERS).time_to_idle(idle).build(),
            days: Cache::builder().max_capacity(MAX_CALLERS).time_to_idle(Duration::from_secs(2 * DAY)).build(),
        }
    }

    /// Whether nobody is limited unless a key says so.
    pub(crate) fn unlimited(&self) -> bool {
        self.default_per_minute == 0
    }

    /// Counts a request of `name`. `None`: there is no limit to tell of.
    pub(crate) fn count(&self, name: &str, allowance: Allowance) -> Option<Left> {
        let per_minute = allowance.requests_per_minute.unwrap_or(self.default_per_minute);
        let minute = (per_minute > 0).then(|| {
            let full = || Arc::new(Mutex::new(Bucket { tokens: per_minute.into(), filled: Instant::now() }));
            let bucket = self.buckets.get_with_by_ref(name, full);
            bucket.lock().take(per_minute, Instant::now())
        });
        if minute.is_some_and(|left| left.refused.is_some()) {
            return minute;
        }
        let day = allowance.requests_per_day.map(|quota| {
            let day = self.days.get_with_by_ref(name, Arc::default);
            day.lock().count(quota, now())
        });
        match (minute, day) {
            (_, Some(day)) if day.refused.is_some() => Some(day),
            // The tighter of the two is told.
            (Some(minute), Some(day)) => Some(if day.remaining < minute.remaining { day } else { minute }),
            (one, other) => one.or(other),
        }
    }

    /// Reports to the broker what was counted, until shutdown is ordered.
    pub(crate) async fn run(self, bus: Bus, shutdown: Shutdown) {
        let mut beat = tokio::time::interval(REPORT);
        loop {
            tokio::select! {
                _ = beat.tick() => self.report(&bus).await,
                () = shutdown.ordered() => return self.report(&bus).await,
            }
        }
    }

    async fn report(&self, bus: &Bus) {
        for (name, counted) in &self.days {
            let (day, fresh) = {
                let counted = counted.lock();
                (counted.day, counted.fresh)
            };
            // Nothing to tell, and nothing to learn: others report what they count themselves.
            if fresh == 0 {
                continue;
            }
            match bus.count_requests(&name, day, fresh).await {
                Ok(sum) => {
                    let mut counted = counted.lock();
                    if counted.day == day {
                        (counted.reported, counted.fresh) = (sum, counted.fresh - fresh);
                    }
                }
                Err(error) => return tracing::debug!(%error, "quotas not reported"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_s_worth_at_once_then_at_the_rate() {
        let now = Instant::now();
        let mut bucket = Bucket { tokens: 60.0, filled: now };
        for left in (0..60).rev() {
            assert_eq!(bucket.take(60, now).remaining, left);
        }
        let refused = bucket.take(60, now);
        assert_eq!((refused.refused.unwrap().1, refused.reset), (Duration::from_secs(1), 60));
        assert!(bucket.take(60, now + Duration::from_secs(1)).refused.is_none());
    }

    #[test]
    fn a_quota_counts_what_others_have_seen_and_starts_anew_at_midnight() {
        let mut day = Day { day: 100, reported: 8, fresh: 0 };
        let noon = 100 * DAY + DAY / 2;
        assert_eq!(day.count(10, noon).remaining, 1);
        assert_eq!(day.count(10, noon).remaining, 0);
        assert_eq!(day.count(10, noon).refused.unwrap().1, Duration::from_secs(DAY / 2));
        assert_eq!(day.count(10, noon + DAY / 2).remaining, 9);
    }
}
