//! Who takes part in a run, and when each was heard of last.

use std::time::{Duration, Instant};

use shoal_shared::names::NodeId;

use super::words::Done;
use crate::report::AgentReport;

/// An agent that was not heard of for this long is lost: eight signs of life.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(4);

/// Who takes part.
pub(super) struct Roster {
    agents: Vec<Entry>,
}

struct Entry {
    id: NodeId,
    /// How far its clock is ahead, microseconds.
    offset: i64,
    heard: Instant,
    requests: u64,
    done: Option<Done>,
    lost_at: Option<f64>,
}

impl Roster {
    /// Everybody, with their clocks' offsets.
    pub(super) fn new(agents: &[(NodeId, i64)], now: Instant) -> Self {
        let entry = |(id, offset): &(NodeId, i64)| Entry {
            id: id.clone(),
            offset: *offset,
            heard: now,
            requests: 0,
            done: None,
            lost_at: None,
        };
        Self { agents: agents.iter().map(entry).collect() }
    }

    /// Something was heard of one; `false` when it is a stranger, or was given up.
    pub(super) fn hear(&mut self, id: &NodeId, now: Instant) -> bool {
        match self.agents.iter_mut().find(|agent| &agent.id == id && agent.lost_at.is_none()) {
            Some(agent) => {
                agent.heard = now;
                true
            }
            None => false,
        }
    }

    /// It sent so many requests more.
    pub(super) fn count(&mut self, id: &NodeId, requests: u64) {
        self.agents.iter_mut().filter(|agent| &agent.id == id).for_each(|agent| agent.requests += requests);
    }

    /// Its last word.
    pub(super) fn finish(&mut self, id: &NodeId, done: Done) {
        self.agents.iter_mut().filter(|agent| &agent.id == id).for_each(|agent| agent.done = Some(done.clone()));
    }

    /// Gives up whoever has fallen silent.
    pub(super) fn look(&mut self, start: Instant, now: Instant) {
        for agent in self.agents.iter_mut().filter(|agent| agent.done.is_none() && agent.lost_at.is_none()) {
            if now.saturating_duration_since(agent.heard) > LOST_AFTER {
                agent.lost_at = Some(agent.heard.saturating_duration_since(start).as_secs_f64());
            }
        }
    }

    /// Whether nobody is awaited any more.
    pub(super) fn is_over(&self) -> bool {
        self.agents.iter().all(|agent| agent.done.is_some() || agent.lost_at.is_some())
    }

    /// CPU of all, CPU of the busiest, logins.
    pub(super) fn sums(&self) -> (f64, f64, u64) {
        let done = || self.agents.iter().filter_map(|agent| agent.done.as_ref());
        let busiest = done().map(|done| done.cores).fold(0.0, f64::max);
        (done().map(|done| done.cores).sum(), busiest, done().map(|done| done.logins).sum())
    }

    /// For the report.
    pub(super) fn reports(&self) -> Vec<AgentReport> {
        let report = |agent: &Entry| AgentReport {
            name: agent.id.to_string(),
            requests: agent.requests,
            cores: agent.done.as_ref().map_or(0.0, |done| done.cores),
            clock_offset_ms: agent.offset as f64 / 1e3,
            lost_at: agent.lost_at,
        };
        self.agents.iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_falls_silent_is_given_up_and_stays_so() {
        let (start, id) = (Instant::now(), |name: &str| name.parse::<NodeId>().unwrap());
        let mut roster = Roster::new(&[(id("a"), 0), (id("b"), 1500)], start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(roster.hear(&id("a"), at(2)) && roster.hear(&id("b"), at(6)) && !roster.hear(&id("c"), at(6)));
        roster.look(start, at(7));
        assert!(!roster.is_over() && !roster.hear(&id("a"), at(7)));
        roster.finish(&id("b"), Done { cores: 0.5, logins: 3 });
        roster.look(start, at(60));
        assert!(roster.is_over());
        let reports = roster.reports();
        assert_eq!((reports[0].lost_at, reports[1].lost_at), (Some(2.0), None));
        assert_eq!((reports[1].clock_offset_ms, roster.sums().2), (1.5, 3));
    }
}
