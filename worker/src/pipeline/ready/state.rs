//! What waits and what runs, and what follows from that: whose turn it is, how much it may take, and when. Pure but for
//! the clock; the locks are in `ready.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Due, Kind, Release, Shape};
use crate::pipeline::pace::Pace;

/// Under the queue's lock.
pub(super) struct State<T> {
    pub(super) items: VecDeque<T>,
    pub(super) feeders: usize,
    /// Images being decoded: counted without the lock.
    pub(super) coming: Arc<AtomicUsize>,
    /// How long the latest of them took: a running mean.
    pub(super) decoding: Duration,
    pub(super) wide_runs: bool,
    pub(super) narrow_runs: usize,
    /// How long the latest run took: what a batch must leave before a deadline.
    pub(super) took: Duration,
    /// Of the wide session, and of the narrow ones.
    pub(super) pace: [Pace; 2],
}

impl<T: Due> State<T> {
    /// When a batch that is being filled must run, and why then.
    pub(super) fn closes_at(&self, patient_until: Instant) -> (Instant, Release) {
        let due = self.items.iter().filter_map(Due::due).min();
        let latest = due.map(|due| due.checked_sub(self.took).unwrap_or_else(Instant::now));
        match latest {
            Some(latest) if latest < patient_until => (latest, Release::Deadline),
            _ => (patient_until, Release::Delay),
        }
    }

    /// Takes out what a session of that kind cannot do in time even alone.
    pub(super) fn give_up(&mut self, kind: Kind) -> Vec<T> {
        let soonest = Instant::now() + self.pace[kind as usize].soonest(1);
        let mut late = Vec::new();
        for at in (0..self.items.len()).rev() {
            if self.items[at].due().is_some_and(|due| due < soonest) {
                late.extend(self.items.remove(at));
            }
        }
        late
    }

    /// How many of the first `most` images a session of that kind does by the nearest of their deadlines; one at
    /// least.
    pub(super) fn in_time(&self, kind: Kind, most: usize) -> usize {
        let (now, pace) = (Instant::now(), &self.pace[kind as usize]);
        let mut nearest = None;
        let fitting = self.items.iter().take(most).zip(1..).take_while(|(item, rows)| {
            nearest = nearest.into_iter().chain(item.due()).min();
            *rows == 1 || nearest.is_none_or(|due| now + pace.soonest(*rows) <= due)
        });
        fitting.count()
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            feeders: 0,
            coming: Arc::default(),
            decoding: Duration::ZERO,
            wide_runs: false,
            narrow_runs: 0,
            took: Duration::ZERO,
            pace: Default::default(),
        }
    }
}

impl<T> State<T> {
    /// The kind of session that may take something now. Ask once for one decision: images are announced at any moment.
    pub(super) fn turn(&self, shape: &Shape) -> Option<Kind> {
        let waiting = self.items.len();
        if waiting == 0 || self.wide_runs {
            return None;
        }
        let many = self.narrow_runs > 0 || waiting > shape.wide_rows || self.cores_are_wanted();
        Some(if shape.narrow > 0 && many { Kind::Narrow } else { Kind::Wide })
    }

    /// Whether images are being decoded that take long beside a run: the wide session would wait for the cores, and
    /// its threads for one another.
    fn cores_are_wanted(&self) -> bool {
        self.coming.load(Ordering::Relaxed) > 0 && 2 * self.decoding > self.pace[Kind::Wide as usize].soonest(1)
    }

    /// An image that took so long is decoded.
    pub(super) fn decoded_in(&mut self, took: Duration) {
        self.decoding = (3 * self.decoding + took) / 4;
    }
}
