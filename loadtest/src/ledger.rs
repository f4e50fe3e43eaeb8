//! Totals over a run, made from slices: of one process, or of many agents.

use std::collections::{BTreeMap, VecDeque};

use crate::measure::LOOK_BACK;
use crate::outcome::Outcome;
use crate::report::{PhaseReport, Second, SoFar, Stats, TaskReport};
use crate::scenario::{Load, Scenario};
use crate::slice::{Slice, TaskSlice};

/// Totals over a run.
pub struct Ledger {
    scenario: Scenario,
    total: Slice,
    phases: Vec<TaskSlice>,
    /// By phase and task; none when that would be too many.
    by_task: Vec<Vec<TaskSlice>>,
    seconds: Vec<Second>,
    /// All tasks together, until now.
    all: TaskSlice,
    /// Seconds that another agent may still add to.
    open: BTreeMap<u32, Slice>,
    patience: u32,
    /// The last seconds, for `stop_when`; empty when nothing looks back.
    recent: VecDeque<Slice>,
}

/// Most phases times tasks that are kept apart: each has four histograms.
const MAX_BY_TASK: usize = 100;

impl Ledger {
    /// Nothing yet. A second is closed when one `patience` later has been seen: 0 with one process.
    pub fn new(scenario: &Scenario, patience: u32) -> Self {
        let tasks = scenario.names().len();
        Self {
            total: Slice::new(0, tasks),
            phases: scenario.phases.iter().map(|_| TaskSlice::default()).collect(),
            by_task: match scenario.phases.len() {
                phases if phases * tasks > MAX_BY_TASK => Vec::new(),
                phases => (0..phases).map(|_| (0..tasks).map(|_| TaskSlice::default()).collect()).collect(),
            },
            seconds: Vec::new(),
            all: TaskSlice::default(),
            open: BTreeMap::new(),
            patience,
            recent: VecDeque::new(),
            scenario: scenario.clone(),
        }
    }

    /// Takes a second in; gives those that are closed by it.
    pub fn add(&mut self, slice: Slice) -> &[Second] {
        let at = slice.at;
        let before = self.seconds.len();
        match self.open.get_mut(&at) {
            Some(open) => open.merge(&slice),
            None => drop(self.open.insert(at, slice)),
        }
        while let Some(entry) = self.open.first_entry().filter(|entry| entry.key() + self.patience <= at) {
            let slice = entry.remove();
            self.close(slice);
        }
        &self.seconds[before..]
    }

    fn close(&mut self, slice: Slice) {
        let total = slice.total();
        // What comes after the last phase belongs to it: answers to what was asked in it.
        let phase = self.phase_at(slice.at);
        self.phases[phase].merge(&total);
        if let Some(tasks) = self.by_task.get_mut(phase) {
            tasks.iter_mut().zip(&slice.tasks).for_each(|(mine, seen)| mine.merge(seen));
        }
        self.all.merge(&total);
        self.seconds.push(second(&slice, &total, so_far(&self.all)));
        let (users, outstanding) = (slice.users, slice.outstanding);
        self.total.merge(&slice);
        (self.total.users, self.total.outstanding) = (users, outstanding);
        if !self.scenario.stop_when.is_empty() {
            self.recent.truncate(LOOK_BACK - 1);
            self.recent.push_front(slice);
        }
    }

    /// The figures of the last seconds, of one task or of all.
    pub fn recent(&self, task: Option<&str>) -> TaskReport {
        let index = task.and_then(|name| self.scenario.names().iter().position(|known| known == name));
        let mut sum = TaskSlice::default();
        for slice in &self.recent {
            match index.and_then(|index| slice.tasks.get(index)) {
                Some(task) => sum.merge(task),
                None => sum.merge(&slice.total()),
            }
        }
        task_report(task.unwrap_or("all"), "", &sum, self.recent.len() as f64)
    }

    /// How many seconds [`Ledger::recent`] is of.
    pub fn looked_back(&self) -> usize {
        self.recent.len()
    }

    fn phase_at(&self, second: u32) -> usize {
        let mut end = 0.0;
        let ends = self.scenario.phases.iter().map(|phase| {
            end += phase.duration.as_secs_f64();
            end
        });
        let found = ends.enumerate().find(|(_, end)| f64::from(second) + 0.5 < *end);
        found.map_or(self.phases.len() - 1, |(index, _)| index)
    }

    /// Closes every second.
    pub fn finish(&mut self) {
        for slice in std::mem::take(&mut self.open).into_values() {
            self.close(slice);
        }
    }

    /// Second by second.
    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// Arrivals that were due and not sent.
    pub fn shortfall(&self) -> u64 {
        self.total.shortfall
    }

    /// How late the generator's timers were, 99th percentile in milliseconds.
    pub fn lag_p99_ms(&self) -> f64 {
        self.total.lag.value_at_percentile(99.0) as f64 / 1e3
    }

    /// Answers by `X-Cache`.
    pub fn cache(&self) -> &BTreeMap<String, u64> {
        &self.total.cache
    }

    /// How requests ended, all tasks together.
    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        self.all.outcomes.clone()
    }

    /// All together, over `elapsed` seconds.
    pub fn total(&self, elapsed: f64) -> TaskReport {
        task_report("all", "", &self.all, elapsed)
    }

    /// Each task, and the login.
    pub fn tasks(&self, elapsed: f64) -> Vec<TaskReport> {
        self.task_reports(&self.total.tasks, elapsed)
    }

    fn task_reports(&self, slices: &[TaskSlice], elapsed: f64) -> Vec<TaskReport> {
        let methods = self.scenario.tasks.iter().map(|task| task.method().as_str()).chain(std::iter::repeat("POST"));
        let rows = self.scenario.names().into_iter().zip(methods).zip(slices);
        rows.map(|((name, method), slice)| task_report(&name, method, slice, elapsed)).collect()
    }

    /// Each phase that was begun.
    pub fn phases(&self, elapsed: f64) -> Vec<PhaseReport> {
        let (mut from, last) = (0.0, self.phases.len() - 1);
        let mut reports = Vec::new();
        for (index, (phase, slice)) in self.scenario.phases.iter().zip(&self.phases).enumerate() {
            let planned = from + phase.duration.as_secs_f64();
            if from >= elapsed {
                break;
            }
            let to = if index == last { elapsed } else { planned.min(elapsed) };
            let due = match phase.load() {
                Load::Rate(first, end) => {
                    let length = phase.duration.as_secs_f64();
                    let lasted = length.min(to - from);
                    let mean = first + (end - first) * lasted / length / 2.0;
                    Some((mean * lasted, mean))
                }
                Load::Users(..) => None,
            };
            let name = phase.title();
            let total = task_report(&name, "", slice, to - from);
            let tasks = self.by_task.get(index).map_or(Vec::new(), |slices| self.task_reports(slices, to - from));
            let (due, due_per_second) = (due.map(|(count, _)| count), due.map(|(_, rate)| rate));
            reports.push(PhaseReport { total, tasks, name, from, to, due, due_per_second });
            from = planned;
        }
        reports
    }
}

fn so_far(all: &TaskSlice) -> SoFar {
    let requests: u64 = all.outcomes.values().sum();
    let ended = &all.ended;
    let (least, most) = if ended.is_empty() { (0, 0) } else { (ended.min(), ended.max()) };
    SoFar {
        requests,
        unanswered: requests - all.count(Outcome::Answered),
        median_ms: ended.value_at_percentile(50.0) as f64 / 1e3,
        mean_ms: ended.mean() / 1e3,
        min_ms: least as f64 / 1e3,
        max_ms: most as f64 / 1e3,
        content_bytes: all.bytes as f64 / (requests as f64).max(1.0),
    }
}

fn second(slice: &Slice, total: &TaskSlice, so_far: SoFar) -> Second {
    let ms = |percent| (!total.latency.is_empty()).then(|| total.latency.value_at_percentile(percent) as f64 / 1e3);
    Second {
        at: slice.at,
        users: slice.users,
        outstanding: slice.outstanding,
        answered: total.count(Outcome::Answered),
        kinds: kinds(total),
        p50_ms: ms(50.0),
        p95_ms: ms(95.0),
        p99_ms: ms(99.0),
        ended: Stats::of(&total.ended),
        so_far,
    }
}

fn kinds(slice: &TaskSlice) -> BTreeMap<String, u64> {
    let unanswered = slice.outcomes.iter().filter(|(outcome, _)| **outcome != Outcome::Answered);
    unanswered.map(|(outcome, count)| (outcome.title().into_owned(), *count)).collect()
}

/// The figures of a task, over `elapsed` seconds.
pub fn task_report(name: &str, method: &str, slice: &TaskSlice, elapsed: f64) -> TaskReport {
    let requests: u64 = slice.outcomes.values().sum();
    let (answered, refused) = (slice.count(Outcome::Answered), slice.count(Outcome::Refused));
    TaskReport {
        name: name.to_owned(),
        method: method.to_owned(),
        requests,
        answered,
        refused,
        failed: requests - answered - refused,
        kinds: kinds(slice),
        rps: if elapsed > 0.0 { answered as f64 / elapsed } else { 0.0 },
        latency: Stats::of(&slice.latency),
        service: Stats::of(&slice.service),
        ended: Stats::of(&slice.ended),
        content_bytes: slice.bytes as f64 / (requests as f64).max(1.0),
    }
}
