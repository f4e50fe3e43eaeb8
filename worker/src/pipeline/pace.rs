//! How soon a session can be done, by its latest runs.

use std::collections::VecDeque;
use std::time::Duration;

/// Runs that are looked back on.
const RUNS: usize = 8;

/// What a kind of session did of late.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<Duration>);

impl Pace {
    /// A run of so many rows is over.
    pub(super) fn ran(&mut self, rows: usize, took: Duration) {
        if self.0.len() == RUNS {
            self.0.pop_front();
        }
        self.0.push_back(took / rows.max(1) as u32);
    }

    /// The least that so many rows take: by the best of the latest runs, so that one that was disturbed gives nothing
    /// up. Nothing, while nothing is known.
    pub(super) fn soonest(&self, rows: usize) -> Duration {
        self.0.iter().min().map_or(Duration::ZERO, |best| *best * rows as u32)
    }

    /// Something was given up for what is known. What is not tried again is not learnt about: the oldest run is
    /// forgotten, and in the end all are.
    pub(super) fn gave_up(&mut self) {
        self.0.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_best_of_the_latest_counts_by_the_row() {
        let mut pace = Pace::default();
        assert_eq!(pace.soonest(4), Duration::ZERO);
        pace.ran(4, 80 * MS);
        pace.ran(1, 500 * MS);
        assert_eq!((pace.soonest(1), pace.soonest(3)), (20 * MS, 60 * MS));
        (0..RUNS).for_each(|_| pace.ran(2, 60 * MS));
        assert_eq!(pace.soonest(1), 30 * MS);
    }

    #[test]
    fn what_was_given_up_is_tried_again() {
        let mut pace = Pace::default();
        (0..2 * RUNS).for_each(|_| pace.ran(1, 500 * MS));
        (0..RUNS).for_each(|_| pace.gave_up());
        assert_eq!(pace.soonest(1), Duration::ZERO);
    }
}
