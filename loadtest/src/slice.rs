//! What was seen in one second; what an agent sends, and what totals are made of.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::outcome::Outcome;

/// One second.
pub struct Slice {
    /// Its number, from the start.
    pub at: u32,
    /// Users there are at its end.
    pub users: u64,
    /// Requests without an answer at its end.
    pub outstanding: u64,
    /// Arrivals that were due and not sent.
    pub shortfall: u64,
    /// How late the generator's own timers were, microseconds.
    pub lag: Histogram<u64>,
    /// By task, and the login.
    pub tasks: Vec<TaskSlice>,
    /// Answers by `X-Cache`.
    pub cache: BTreeMap<String, u64>,
}

/// One task in one second.
pub struct TaskSlice {
    /// How requests ended.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Microseconds from the time they were due, of those answered.
    pub latency: Histogram<u64>,
    /// Microseconds from the time they were sent, of those answered.
    pub service: Histogram<u64>,
    /// Microseconds from the time they were due, of all.
    pub ended: Histogram<u64>,
    /// Bytes of bodies that came back.
    pub bytes: u64,
}

/// A request that ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// From the time it was due.
    pub latency: Duration,
    /// From the time it was sent.
    pub service: Duration,
    /// Length of the body that came back.
    pub bytes: usize,
    /// The answer's `X-Cache`.
    pub cache: Option<String>,
}

/// Most different values of `X-Cache` that are told apart.
const MAX_CACHE_VALUES: usize = 16;

/// An empty histogram: microseconds up to ten minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constant bounds within what the histogram takes")]
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("valid bounds")
}

impl Slice {
    /// Nothing seen.
    pub fn new(at: u32, tasks: usize) -> Self {
        Self {
            at,
            users: 0,
            outstanding: 0,
            shortfall: 0,
            lag: histogram(),
            tasks: (0..tasks).map(|_| TaskSlice::default()).collect(),
            cache: BTreeMap::new(),
        }
    }

    /// One request.
    pub fn add(&mut self, task: usize, ended: &Ended) {
        if let Some(task) = self.tasks.get_mut(task) {
            task.add(ended);
        }
        if let Some(value) = &ended.cache {
            let has_room = self.cache.len() < MAX_CACHE_VALUES;
            match self.cache.get_mut(value) {
                Some(count) => *count += 1,
                None if has_room => drop(self.cache.insert(value.clone(), 1)),
                None => {}
            }
        }
    }

    /// Adds what another agent saw in the same second, or the same agent in another.
    pub fn merge(&mut self, other: &Slice) {
        self.users += other.users;
        self.outstanding += other.outstanding;
        self.shortfall += other.shortfall;
        add(&mut self.lag, &other.lag);
        for (mine, theirs) in self.tasks.iter_mut().zip(&other.tasks) {
            mine.merge(theirs);
        }
        for (value, count) in &other.cache {
            if self.cache.contains_key(value) || self.cache.len() < MAX_CACHE_VALUES {
                *self.cache.entry(value.clone()).or_default() += count;
            }
        }
    }

    /// All tasks together.
    pub fn total(&self) -> TaskSlice {
        let mut total = TaskSlice::default();
        self.tasks.iter().for_each(|task| total.merge(task));
        total
    }
}

impl Default for TaskSlice {
    fn default() -> Self {
        Self { outcomes: BTreeMap::new(), latency: histogram(), service: histogram(), ended: histogram(), bytes: 0 }
    }
}

impl TaskSlice {
    fn add(&mut self, ended: &Ended) {
        let micros = |time: Duration| time.as_micros().max(1) as u64;
        *self.outcomes.entry(ended.outcome).or_default() += 1;
        self.ended.saturating_record(micros(ended.latency));
        if ended.outcome == Outcome::Answered {
            self.latency.saturating_record(micros(ended.latency));
            self.service.saturating_record(micros(ended.service));
        }
        self.bytes += ended.bytes as u64;
    }

    /// Adds more of the same task.
    pub fn merge(&mut self, other: &TaskSlice) {
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
        add(&mut self.latency, &other.latency);
        add(&mut self.service, &other.service);
        add(&mut self.ended, &other.ended);
        self.bytes += other.bytes;
    }

    /// How many ended in this way.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }
}

fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    // Same bounds, so nothing can fall outside.
    let _ = into.add(from);
}
