//! When to restart a crashed worker, and when to stop trying. Pure: time comes from outside.

use std::time::Duration;

/// A worker that lived this long was healthy: the count starts over.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// First pause.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Crashes in a row after which the worker is broken, not unlucky.
const MOST_CRASHES: u32 = 8;

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
    /// The worker ended after living for `lifetime`: how long to wait before the next start.
    pub fn crashed(&mut self, lifetime: Duration) -> Result<Duration, CrashLoop> {
        if lifetime >= HEALTHY_AFTER {
            self.crashes = 0;
        }
        self.crashes += 1;
        if self.crashes >= MOST_CRASHES {
            return Err(CrashLoop { crashes: self.crashes });
        }
        Ok((FIRST_PAUSE * 2u32.pow(self.crashes - 1)).min(LONGEST_PAUSE))
    }
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
    fn a_healthy_life_is_forgiven() {
        let mut policy = RestartPolicy::default();
        for _ in 0..100 {
            assert_eq!(policy.crashed(HEALTHY_AFTER).unwrap(), FIRST_PAUSE);
        }
    }
}
