//! When to restart a process that ended, and when to stop trying. Pure: time comes from outside.

use std::time::Duration;

/// A process that lived this long was healthy: the count starts over.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// First pause.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest pause after a good start: a job that kills its worker must not stop the others for long.
const LONGEST_PAUSE_ONCE_READY: Duration = Duration::from_secs(1);
/// Crashes in a row after which the process is broken, not unlucky.
const MOST_CRASHES: u32 = 8;
/// Pauses are spread by this share, so that what fell together does not rise together.
const JITTER: f64 = 0.25;

/// Restart pauses that double, up to a limit of crashes in a row.
#[derive(Debug, Default)]
pub struct RestartPolicy {
    crashes: u32,
}

/// Too many crashes in a row.
#[derive(Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// How many.
    pub crashes: u32,
}

impl RestartPolicy {
    /// The process ended after living for `lifetime`: how long to wait before the next start.
    pub fn crashed(&mut self, lifetime: Duration) -> Result<Duration, CrashLoop> {
        let pause = self.pause(lifetime);
        if self.crashes >= MOST_CRASHES { Err(CrashLoop { crashes: self.crashes }) } else { Ok(pause) }
    }

    /// The same for a process that had started well: what ended it came from outside, a job that
    /// kills its worker or a lost connection, and is no reason to give up.
    pub fn ended(&mut self, lifetime: Duration) -> Duration {
        self.pause(lifetime).min(LONGEST_PAUSE_ONCE_READY)
    }

    fn pause(&mut self, lifetime: Duration) -> Duration {
        if lifetime >= HEALTHY_AFTER {
            self.crashes = 0;
        }
        self.crashes = (self.crashes + 1).min(MOST_CRASHES);
        (FIRST_PAUSE * 2u32.pow(self.crashes - 1)).min(LONGEST_PAUSE)
    }
}

/// A pause made a little longer or shorter; `dice` is uniform in 0 to 1.
pub fn jittered(pause: Duration, dice: f64) -> Duration {
    pause.mul_f64(1.0 + JITTER * (2.0 * dice - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_the_eighth_crash_in_a_row_is_the_last() {
        let mut policy = RestartPolicy::default();
        let pauses: Vec<u128> = (0..7).map(|_| policy.crashed(Duration::ZERO).unwrap().as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000]);
        assert_eq!(policy.crashed(Duration::ZERO), Err(CrashLoop { crashes: 8 }));
    }

    #[test]
    fn what_ends_after_a_good_start_is_restarted_for_ever() {
        let mut policy = RestartPolicy::default();
        let pauses: Vec<Duration> = (0..100).map(|_| policy.ended(Duration::ZERO)).collect();
        assert_eq!(pauses[99], LONGEST_PAUSE_ONCE_READY);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let pause = Duration::from_secs(4);
        assert_eq!(jittered(pause, 0.0), Duration::from_secs(3));
        assert_eq!(jittered(pause, 1.0), Duration::from_secs(5));
    }

    #[test]
    fn a_healthy_life_is_forgiven() {
        let mut policy = RestartPolicy::default();
        for _ in 0..100 {
            assert_eq!(policy.crashed(HEALTHY_AFTER).unwrap(), FIRST_PAUSE);
        }
    }
}
