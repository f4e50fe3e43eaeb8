//! How far two clocks are apart, from questions and answers (F. Cristian, Distributed Computing 3, 1989).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix microseconds of this machine's clock.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// The moment at which this machine's clock will show `at`.
pub(super) fn moment(at: i64) -> Instant {
    let (clock, here) = (now(), Instant::now());
    here + Duration::from_micros((at - clock).max(0) as u64)
}

/// One question: this clock before it was asked and after it was answered, and the other's between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Echo {
    pub(super) asked: i64,
    pub(super) theirs: i64,
    pub(super) answered: i64,
}

/// How many microseconds the other clock is ahead. The quickest round trip says it best: at most half
/// of it is uncertain.
pub(super) fn offset(echoes: &[Echo]) -> i64 {
    let quickest = echoes.iter().min_by_key(|echo| echo.answered - echo.asked);
    quickest.map_or(0, |echo| echo.theirs - (echo.asked + echo.answered) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_round_trip_counts() {
        let slow = Echo { asked: 0, theirs: 5_900, answered: 1_000 };
        let quick = Echo { asked: 2_000, theirs: 7_050, answered: 2_100 };
        assert_eq!(offset(&[slow, quick]), 5_000);
        assert_eq!(offset(&[]), 0);
    }
}
