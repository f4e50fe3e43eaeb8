//! How much of a reported backlog to believe.
//!
//! `pending` can lie: a stale follower's number grows for ever (keda #3860), a consumer that does
//! not exist lags by the whole stream (keda #7657). Two things vouch for a backlog. Jobs published
//! less jobs settled, counted apart, must add up to it. And where more is settled than was seen to
//! be published, there was a backlog from before: what was worked off of it vouches for as much
//! again, so that a true backlog that the policy finds at its start is believed faster and faster.
//! How busy workers are vouches for nothing: under a usual load all of them are busy now and then.

use std::time::Duration;

/// Workers under this are idle.
const IDLE: f64 = 0.2;
/// Pulls, heartbeats and broker answers are this far apart at most: a shorter contradiction is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What vouches for the backlog.
#[derive(Debug, Default)]
pub(super) struct Belief {
    /// Jobs in the queue or in progress by the counters: published less settled.
    booked: u64,
    /// Settled beyond what was booked, since no job waited last.
    worked_off: u64,
    /// Since when the backlog stands though workers are idle.
    unmoved_since: Option<Duration>,
}

/// A queue as reported, with what is known besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported {
    pub(super) at: Duration,
    pub(super) pending: u64,
    pub(super) ack_pending: u64,
    /// Published since the last look.
    pub(super) published: u64,
    /// Settled since the last look.
    pub(super) settled: u64,
    /// Workers that take jobs.
    pub(super) ready: usize,
    /// Their mean busy fraction.
    pub(super) busy: f64,
}

impl Reported {
    /// Jobs that wait: pending, and those in progress beyond one for each ready worker: what a dead
    /// worker held waits for its redelivery and is work too.
    pub(super) fn backlog(&self) -> u64 {
        self.pending.saturating_add(self.ack_pending.saturating_sub(self.ready as u64))
    }
}

impl Belief {
    /// The backlog to act on, at most what was reported.
    pub(super) fn believe(&mut self, reported: Reported) -> u64 {
        let Reported { at, pending, ack_pending, published, settled, ready, busy } = reported;
        let backlog = reported.backlog();
        let in_books = self.booked.saturating_add(published);
        let beyond = settled.saturating_sub(in_books);
        self.worked_off = if pending == 0 { 0 } else { self.worked_off.saturating_add(beyond) };
        self.booked = in_books.saturating_sub(settled).min(pending.saturating_add(ack_pending));
        let still = backlog > 0 && settled == 0 && ready > 0 && busy < IDLE;
        self.unmoved_since = if still { self.unmoved_since.or(Some(at)) } else { None };
        let vouched = self.booked.saturating_add(self.worked_off).saturating_sub(ready as u64);
        // Where nobody is there to work it off, one worker will tell.
        backlog.min(if ready == 0 { vouched.max(1) } else { vouched })
    }

    /// How long the backlog has not moved though workers are idle, once that is no accident.
    pub(super) fn unmoved(&self, at: Duration) -> Option<Duration> {
        self.unmoved_since.map(|since| at.saturating_sub(since)).filter(|time| *time >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(second: u64, pending: u64, published: u64, settled: u64) -> Reported {
        let at = Duration::from_secs(second);
        Reported { at, pending, ack_pending: 1, published, settled, ready: 1, busy: 0.0 }
    }

    #[test]
    fn a_backlog_that_nobody_published_and_nobody_works_off_is_not_believed() {
        let mut belief = Belief::default();
        for second in 0..10 {
            assert_eq!(belief.believe(reported(second, 100 + 100 * second, 0, 0)), 0);
        }
        assert_eq!(belief.unmoved(Duration::from_secs(9)), None);
        belief.believe(reported(11, 2000, 0, 0));
        assert_eq!(belief.unmoved(Duration::from_secs(11)), Some(Duration::from_secs(11)));
    }

    #[test]
    fn a_load_beside_the_lie_does_not_vouch_for_it() {
        let mut belief = Belief::default();
        for second in 0..1000 {
            assert!(belief.believe(reported(second, 100 * second, 30, 30)) <= 30);
        }
    }

    #[test]
    fn a_burst_is_believed_at_once() {
        let mut belief = Belief::default();
        assert_eq!(belief.believe(reported(0, 500, 510, 0)), 500);
    }

    #[test]
    fn what_was_there_before_is_believed_as_it_is_worked_off() {
        let mut belief = Belief::default();
        let believed: Vec<u64> = (0..4).map(|second| belief.believe(reported(second, 500, 0, 50))).collect();
        assert_eq!(believed, [49, 99, 149, 199]);
    }

    #[test]
    fn without_workers_an_unexplained_backlog_wakes_one() {
        let mut belief = Belief::default();
        let nobody = |second, pending, published| Reported { ready: 0, ..reported(second, pending, published, 0) };
        assert_eq!(belief.believe(nobody(0, 500, 0)), 1);
        assert_eq!(belief.believe(nobody(1, 700, 200)), 200);
    }

    #[test]
    fn what_a_dead_worker_held_is_work() {
        let held = |ready| Reported { ack_pending: 12, ready, ..reported(0, 5, 0, 0) }.backlog();
        assert_eq!((held(2), held(20)), (15, 5));
    }
}
