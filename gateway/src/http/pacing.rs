//! Refusals leave at a bounded pace. One costs a gateway nearly as much as an answer from its cache, and clients
//! that ask again at once, whatever `Retry-After` says, would take the cores with them from the workers whose
//! answers they wait for. So a number leave at once, and what comes faster waits its turn, for a moment at most.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two refusals, while they come faster. (Unbounded, 12,500 a second took half of two cores.)
const EACH: Duration = Duration::from_millis(1);
/// As many as fit into this time leave at once when there were none for as long.
const BURST: Duration = Duration::from_millis(250);
/// Nobody waits longer.
const LONGEST: Duration = Duration::from_millis(250);

/// When the last refusal leaves that was asked for.
pub(super) struct Pacing(Mutex<Instant>);

impl Pacing {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(now.checked_sub(BURST).unwrap_or(now)))
    }

    /// Waits for the turn of one refusal.
    pub(super) async fn turn(&self) {
        let pause = self.pause(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    fn pause(&self, now: Instant) -> Duration {
        let mut last = self.0.lock();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *last = (last.max(earliest) + EACH).min(now + LONGEST);
        last.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_leaves_at_once_and_a_flood_at_a_bounded_pace() {
        let pacing = Pacing::new();
        let now = Instant::now() + Duration::from_secs(1);
        let pauses: Vec<Duration> = (0..1000).map(|_| pacing.pause(now)).collect();
        assert!(pauses[..250].iter().all(Duration::is_zero));
        assert_eq!((pauses[250], pauses[299], pauses[999]), (MS, 50 * MS, LONGEST));
        // 64 clients that come back as soon as they are told, for a second.
        let mut due: Vec<Instant> = vec![now + Duration::from_secs(9); 64];
        let end = due[0] + Duration::from_secs(1);
        let mut refused = 0;
        while let Some(next) = due.iter_mut().min().filter(|next| **next < end) {
            *next += pacing.pause(*next);
            refused += 1;
        }
        assert!((1250..=1250 + 64).contains(&refused), "{refused}: the burst and a thousand");
    }

    #[test]
    fn below_the_pace_nobody_waits() {
        let pacing = Pacing::new();
        let now = Instant::now();
        assert!((0..2000).all(|number| pacing.pause(now + number * 2 * MS).is_zero()));
    }
}
