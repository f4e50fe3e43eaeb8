//! How long a worker takes from order to ready (model load and warm-up), and which of those that
//! were ordered can still be counted on.
//!
//! A worker that was written off took at least as long as it was waited for, and that is a
//! measurement too: else a start-up that became slower than three times what it was (a cold cache)
//! would be cut off again and again, and no worker would ever be ready.

use std::time::Duration;

/// Weight of the newest measurement.
const SMOOTHING: f64 = 0.3;
/// A worker that starts for longer than this many times the expected time will not come.
const WRITTEN_OFF_AFTER: u32 = 3;
/// Start-up times are believed up to this.
const LONGEST: Duration = Duration::from_secs(1800);
/// No worker is written off before this: a measured start-up of a few milliseconds is a warm cache.
const LEAST_PATIENCE: Duration = Duration::from_secs(3);

/// The start-up time, measured.
#[derive(Debug, Default)]
pub(super) struct StartUp {
    measured: Option<Duration>,
    /// When each worker was ordered that is written off and not ended yet.
    written_off: Vec<Duration>,
}

/// Workers that were ordered and are not ready.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Coming {
    /// Seconds until each is expected to be ready; 0 for those that are late.
    pub(super) remaining: Vec<f64>,
    /// Those that are not expected any more.
    pub(super) written_off: usize,
}

impl StartUp {
    /// A worker was ready `after` its order.
    pub(super) fn observe(&mut self, after: Duration) {
        let after = after.min(LONGEST);
        let known = self.measured.unwrap_or(after);
        self.measured = Some(known.mul_f64(1.0 - SMOOTHING) + after.mul_f64(SMOOTHING));
    }

    /// What the next worker will take.
    pub(super) fn expected(&self, assumed: Duration) -> Duration {
        self.measured.unwrap_or(assumed)
    }

    /// What may be expected of the workers that were ordered at `starting`.
    pub(super) fn coming(&mut self, starting: &[Duration], at: Duration, assumed: Duration) -> Coming {
        self.written_off.retain(|since| starting.contains(since));
        let expected = self.expected(assumed);
        let patience = (expected * WRITTEN_OFF_AFTER).max(LEAST_PATIENCE);
        let mut coming = Coming::default();
        for since in starting {
            let age = at.saturating_sub(*since);
            if age > patience && !self.written_off.contains(since) {
                self.written_off.push(*since);
                self.measured = self.measured.max(Some(age.min(LONGEST)));
            }
            match self.written_off.contains(since) {
                true => coming.written_off += 1,
                false => coming.remaining.push(expected.saturating_sub(age).as_secs_f64()),
            }
        }
        coming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_for_too_long_is_written_off() {
        let mut startup = StartUp::default();
        startup.observe(Duration::from_secs(10));
        let starting = [Duration::from_secs(69), Duration::from_secs(90), Duration::from_secs(96)];
        let coming = startup.coming(&starting, Duration::from_secs(100), Duration::from_secs(1));
        assert_eq!(coming, Coming { remaining: vec![0.0, 6.0], written_off: 1 });
    }

    #[test]
    fn the_time_is_measured() {
        let mut startup = StartUp::default();
        assert_eq!(startup.expected(Duration::from_secs(5)), Duration::from_secs(5));
        (0..20).for_each(|_| startup.observe(Duration::from_secs(30)));
        assert!(startup.expected(Duration::ZERO).abs_diff(Duration::from_secs(30)) < Duration::from_millis(1));
    }

    #[test]
    fn the_next_is_waited_for_longer() {
        let mut startup = StartUp::default();
        let mut written_off = |since: u64, at: u64| {
            let (since, at) = (Duration::from_secs(since), Duration::from_secs(at));
            startup.coming(&[since], at, Duration::from_secs(5)).written_off
        };
        assert_eq!((written_off(0, 15), written_off(0, 16), written_off(0, 17)), (0, 1, 1));
        assert_eq!((written_off(17, 60), written_off(17, 66)), (0, 1));
    }
}
