//! Events a second from counts: smooth while only chance moves them, quick when the rate changes.
//!
//! The rate is counted over `LONG`. Counts scatter by the root of what is expected (Poisson), so a
//! recent count that lies `SIGMAS` away from what the time before promised is a change: what was
//! before it is forgotten, and the rate is that of the recent time alone. Windows are tried from the
//! shortest, so that a step shows within two seconds and a gentle slope within sixteen.

use std::collections::VecDeque;
use std::time::Duration;

/// Events older than this do not count.
const LONG: Duration = Duration::from_secs(60);
/// Recent times that are compared with what was before them.
const RECENT: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(16)];
/// Chance goes so far once in sixteen thousand looks.
const SIGMAS: f64 = 4.0;
/// From so many seconds on a count is taken as it is.
const SURE: f64 = 15.0;
/// Looks that are kept: four a second over `LONG`, and fewer are needed.
const MOST_LOOKS: usize = 256;

/// A rate of events.
#[derive(Debug, Default)]
pub(super) struct Rate {
    looks: VecDeque<(Duration, u64)>,
    total: u64,
}

impl Rate {
    /// `events` happened since the last look.
    pub(super) fn observe(&mut self, at: Duration, events: u64) {
        if self.looks.back().is_some_and(|(last, _)| *last >= at) {
            return;
        }
        self.total = self.total.saturating_add(events);
        self.looks.push_back((at, self.total));
        while self.looks.get(1).is_some_and(|(then, _)| *then + LONG <= at) || self.looks.len() > MOST_LOOKS {
            self.looks.pop_front();
        }
        if let Some(cut) = RECENT.iter().find_map(|recent| self.change(at, *recent)) {
            self.looks.drain(..cut);
        }
    }

    /// Events a second; 0 until there were two looks. While little time was counted, what may be
    /// chance is left out: one scatter of the count at first, nothing from `SURE` on. A rate that is
    /// a little low for a few seconds costs nothing, as the backlog shows it; one that is high
    /// would start a worker and keep it for the stabilisation window.
    pub(super) fn per_second(&self) -> f64 {
        match (self.looks.front(), self.looks.back()) {
            (Some((first, before)), Some((last, after))) if last > first => {
                let (events, seconds) = (after.saturating_sub(*before) as f64, (*last - *first).as_secs_f64());
                let unsure = (1.0 - seconds / SURE).max(0.0);
                (events - unsure * events.sqrt()) / seconds
            }
            _ => 0.0,
        }
    }

    /// The look at which the rate changed, if `recent` is unlike what was before.
    fn change(&self, at: Duration, recent: Duration) -> Option<usize> {
        let start = at.checked_sub(recent)?;
        let cut = self.looks.partition_point(|(then, _)| *then <= start).checked_sub(1)?;
        let ((first, oldest), (middle, then)) = (*self.looks.front()?, *self.looks.get(cut)?);
        let before = (middle - first).as_secs_f64();
        if before < recent.as_secs_f64() {
            return None;
        }
        let after = (at - middle).as_secs_f64();
        let expected = then.saturating_sub(oldest) as f64 / before * after;
        let got = self.total.saturating_sub(then) as f64;
        // What was before is an estimate too, and scatters the more the shorter it was watched.
        let scatter = (expected * (1.0 + after / before)).max(1.0).sqrt();
        ((got - expected).abs() > SIGMAS * scatter).then_some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(counts: impl IntoIterator<Item = u64>) -> Rate {
        let mut rate = Rate::default();
        counts
            .into_iter()
            .enumerate()
            .for_each(|(second, count)| rate.observe(Duration::from_secs(second as u64), count));
        rate
    }

    #[test]
    fn chance_is_smoothed() {
        let rate = fed((0..200).map(|second| if second % 2 == 0 { 30 } else { 50 }));
        assert!((rate.per_second() - 40.0).abs() < 1.0, "{}", rate.per_second());
    }

    #[test]
    fn a_step_shows_within_two_seconds() {
        let stepped = |end| fed((0..end).map(|second| if second < 60 { 10 } else { 40 })).per_second();
        assert!(stepped(62) >= 25.0 && stepped(66) > 33.0, "{} {}", stepped(62), stepped(66));
        let stopped = |end| fed((0..end).map(|second| if second < 60 { 40 } else { 0 })).per_second();
        assert!(stopped(62) <= 20.0 && stopped(125) == 0.0, "{} {}", stopped(62), stopped(95));
    }

    #[test]
    fn looks_out_of_order_and_in_heaps_are_bounded() {
        let mut rate = Rate::default();
        for milli in 0..100_000 {
            rate.observe(Duration::from_millis(milli), 1);
        }
        assert!(rate.looks.len() <= MOST_LOOKS);
        // An older look changes nothing.
        rate.observe(Duration::ZERO, 1_000_000);
        assert!((rate.per_second() - 1000.0).abs() < 200.0);
    }
}
