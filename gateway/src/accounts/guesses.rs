//! Wrong logins, counted by account and by address, so that guessing takes for ever.

use std::time::{Duration, Instant};

use moka::sync::Cache;

/// Wrong logins in a row before one has to wait.
const FREE: u32 = 5;
/// How long a wrong login is remembered; as often as there were more than are free, up to the bound.
const PENALTY: Duration = Duration::from_secs(10);
const MAX_PENALTY: Duration = Duration::from_secs(300);
/// Names that are remembered at once.
const MAX_REMEMBERED: u64 = 100_000;

#[derive(Clone, Copy)]
struct Wrong {
    times: u32,
    last: Instant,
}

/// Wrong logins of late. Cheap to clone.
#[derive(Clone)]
pub(super) struct Guesses(Cache<String, Wrong>);

impl Guesses {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_REMEMBERED).time_to_idle(MAX_PENALTY).build())
    }

    /// How long whoever goes by this name has to wait before the next attempt.
    pub(super) fn wait(&self, name: &str, now: Instant) -> Option<Duration> {
        let wrong = self.0.get(name)?;
        let over = wrong.times.checked_sub(FREE)? + 1;
        let until = wrong.last + PENALTY.saturating_mul(over).min(MAX_PENALTY);
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// An attempt went wrong.
    pub(super) fn wrong(&self, name: &str, now: Instant) {
        let times = self.0.get(name).map_or(0, |wrong| wrong.times);
        self.0.insert(name.to_owned(), Wrong { times: times + 1, last: now });
    }

    /// An attempt went right.
    pub(super) fn right(&self, name: &str) {
        self.0.invalidate(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_guess_waits_and_a_right_one_clears() {
        let (guesses, now) = (Guesses::new(), Instant::now());
        for _ in 0..FREE - 1 {
            guesses.wrong("ada", now);
        }
        assert_eq!(guesses.wait("ada", now), None);
        guesses.wrong("ada", now);
        assert_eq!(guesses.wait("ada", now), Some(PENALTY));
        assert_eq!(guesses.wait("ada", now + PENALTY), None);
        guesses.wrong("ada", now + PENALTY);
        assert_eq!(guesses.wait("ada", now + PENALTY), Some(PENALTY * 2));
        assert_eq!(guesses.wait("bob", now), None);
        guesses.right("ada");
        assert_eq!(guesses.wait("ada", now), None);
    }
}
