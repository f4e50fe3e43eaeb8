//! The highest target of late: a fleet shrinks only to that.

use std::collections::VecDeque;
use std::time::Duration;

/// Longest pause between looks over which nothing can have been missed.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The highest value within a window. Holds a falling sequence, so at most one entry per value
/// that a target can take.
#[derive(Debug, Default)]
pub(super) struct Highest {
    falling: VecDeque<(Duration, usize)>,
    watching_since: Option<Duration>,
    last: Duration,
}

impl Highest {
    /// Adds a target and returns the highest of the window that ends now.
    pub(super) fn observe(&mut self, at: Duration, target: usize, window: Duration) -> usize {
        if at.saturating_sub(self.last) > LONGEST_PAUSE {
            self.watching_since = None;
        }
        self.last = at;
        self.watching_since.get_or_insert(at);
        while self.falling.front().is_some_and(|(then, _)| *then + window <= at) {
            self.falling.pop_front();
        }
        while self.falling.back().is_some_and(|(_, value)| *value <= target) {
            self.falling.pop_back();
        }
        self.falling.push_back((at, target));
        self.falling.front().map_or(target, |(_, value)| *value)
    }

    /// Whether the whole window was seen, without gaps: what was not seen may have been high.
    pub(super) fn is_whole(&self, at: Duration, window: Duration) -> bool {
        self.watching_since.is_some_and(|since| at.saturating_sub(since) >= window)
    }

    /// Nothing could be seen: the window starts over.
    pub(super) fn interrupt(&mut self) {
        self.watching_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn a_peak_counts_for_the_whole_window() {
        let mut highest = Highest::default();
        assert_eq!(highest.observe(second(0), 3, MINUTE), 3);
        assert_eq!(highest.observe(second(5), 7, MINUTE), 7);
        assert_eq!(highest.observe(second(9), 2, MINUTE), 7);
        assert_eq!(highest.observe(second(64), 2, MINUTE), 7);
        assert_eq!(highest.observe(second(65), 2, MINUTE), 2);
    }

    #[test]
    fn a_gap_starts_the_window_over() {
        let mut highest = Highest::default();
        for at in 0..=60 {
            highest.observe(second(at), 1, MINUTE);
        }
        assert!(highest.is_whole(second(60), MINUTE));
        highest.observe(second(80), 1, MINUTE);
        assert!(!highest.is_whole(second(80), MINUTE));
        assert!(!highest.is_whole(second(139), MINUTE));
    }
}
