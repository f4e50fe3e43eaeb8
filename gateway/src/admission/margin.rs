//! Which part of the time until its deadline a newcomer may spend waiting. The rest is for its own turn in a
//! session, for those who were promised a place, and for what the forecast does not know: a batch that takes as long
//! as the deadline leaves, clients that use the same cores. So it is found out from what became of those who were
//! let in. Pure.

use std::time::Duration;

/// At most: what the forecast alone is trusted with.
const MOST: f64 = 0.8;
/// At least, or nobody would be let in who could tell that it has become better.
const LEAST: f64 = 0.1;
/// What one answer in time adds, relative.
const MORE: f64 = 0.004;
/// What one that was too late takes away, relative: where one in 26 is late, the two are even.
const LESS: f64 = 0.1;

/// The part, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margin(f64);

impl Default for Margin {
    fn default() -> Self {
        Self(MOST)
    }
}

impl Margin {
    /// The part.
    pub(super) fn part(self) -> f64 {
        self.0
    }

    /// Whether somebody who would have to wait so long is let in or not by how large the part is. Whoever would be let
    /// in anyway and is late has a deadline that nothing could meet: it says nothing about the forecast, and must not
    /// cost others their places.
    pub(super) fn decides(wait: Duration, remaining: Duration) -> bool {
        wait > remaining.mul_f64(LEAST)
    }

    /// Somebody who was let in was answered in time, or was not.
    pub(super) fn learn(&mut self, in_time: bool) {
        let change = if in_time { 1.0 + MORE } else { 1.0 - LESS };
        self.0 = (self.0 * change).clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of the margin where one of `of` is late.
    fn where_one_is_late_of(of: u32) -> f64 {
        let mut margin = Margin::default();
        (0..10_000).for_each(|number| margin.learn(number % of != 0));
        margin.part()
    }

    #[test]
    fn few_that_are_late_cost_nothing_and_many_cost_all_but_the_least() {
        assert!(where_one_is_late_of(100) > 0.7);
        assert!(where_one_is_late_of(10) < 1.1 * LEAST);
    }

    #[test]
    fn it_decides_where_there_is_a_wait() {
        let ms = Duration::from_millis;
        assert!(Margin::decides(ms(40), ms(300)));
        assert!(!Margin::decides(ms(0), ms(1)) && !Margin::decides(ms(20), ms(300)));
    }

    #[test]
    fn it_comes_back() {
        let mut margin = Margin::default();
        (0..100).for_each(|_| margin.learn(false));
        assert_eq!(margin.part(), LEAST);
        (0..600).for_each(|_| margin.learn(true));
        assert_eq!(margin.part(), MOST);
    }
}
