//! Decoded images on their way to the sessions: who may take how many, and when.
//!
//! Two kinds of sessions share the cores. The *wide* one has a thread for each core and answers one
//! image soonest; *narrow* ones have a thread each and, side by side, work off a queue fastest. They
//! never run at the same time: idle, the wide one takes what comes; when more is ready than it is
//! good for, or a large image is being decoded, the narrow ones take over and share it out, until they have run dry.
//!
//! While batches run, the next collect here by themselves: no delay is needed to form them under
//! load, and none is paid when idle.
//!
//! A batch is as large as the nearest of its deadlines allows, and what cannot be done in time even alone is not
//! begun: the session would be late for the next one too, and so for every one in a queue.

mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use state::State;

/// How the sessions divide the work. Measured at warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Narrow sessions; 0: there is the wide one only.
    pub narrow: usize,
    /// The wide session takes over from idle up to so many images.
    pub wide_rows: usize,
    /// Most images in one run of the wide session.
    pub wide_batch: usize,
    /// Most images in one run of a narrow session.
    pub narrow_batch: usize,
}

impl Shape {
    /// Images in a run of the wide session, as long as none waits for more.
    pub fn wide_usual(&self) -> usize {
        if self.narrow > 0 { self.wide_rows.max(1) } else { self.wide_batch }
    }

    /// Images that can be in the sessions at once.
    pub fn in_flight(&self) -> usize {
        self.wide_batch.max(self.narrow * self.narrow_batch)
    }
}

/// A kind of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A thread for each core.
    Wide,
    /// One thread.
    Narrow,
}

/// Why a batch was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It had as many images as the session takes.
    Full,
    /// The session was idle and nothing else was there.
    Idle,
    /// The delay was over.
    Delay,
    /// One of its images could wait no longer, or for no more images.
    Deadline,
}

impl Release {
    /// Every reason.
    pub const ALL: [Release; 4] = [Release::Full, Release::Idle, Release::Delay, Release::Deadline];

    /// Word in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Release::Full => "full",
            Release::Idle => "idle",
            Release::Delay => "delay",
            Release::Deadline => "deadline",
        }
    }
}

/// Something that may have to be answered by some moment.
pub trait Due {
    /// That moment.
    fn due(&self) -> Option<Instant>;
}

/// The queue. Cheap to clone.
pub struct Ready<T>(Arc<Inner<T>>);

struct Inner<T> {
    state: Mutex<State<T>>,
    /// The state's count, for those who have not locked it.
    coming: Arc<AtomicUsize>,
    /// Where the wide session waits.
    wide: Condvar,
    /// Where narrow ones do.
    narrow: Condvar,
    /// Where feeders wait for room.
    room: Condvar,
    shape: Shape,
    delay: Duration,
}

impl<T> Inner<T> {
    fn waits(&self, kind: Kind) -> &Condvar {
        match kind {
            Kind::Wide => &self.wide,
            Kind::Narrow => &self.narrow,
        }
    }

    /// Wakes whoever's turn it is now, and nobody else: a thread that wakes for nothing takes a core from one that
    /// computes. A narrow session that has taken its share wakes the next one.
    fn wake(&self, state: &State<T>) {
        // At the end everybody has to know; with a delay somebody may be waiting for more.
        if state.feeders == 0 || !self.delay.is_zero() {
            self.wide.notify_all();
            self.narrow.notify_all();
        } else if let Some(kind) = state.turn(&self.shape) {
            self.waits(kind).notify_one();
        }
    }
}

/// Puts images in; when the last one is dropped, the queue ends.
pub struct Feeder<T>(Ready<T>);

/// An image that is being decoded; dropped, it does not come.
pub struct Coming<'a, T> {
    inner: &'a Inner<T>,
    since: Instant,
    has_ended: bool,
}

/// The right to run; given back when dropped.
pub struct Turn<T> {
    ready: Ready<T>,
    kind: Kind,
    since: Instant,
    /// Rows of the run; 0: there was none.
    rows: usize,
}

/// What a session has taken beside the batch itself.
pub struct Taken<T> {
    /// The right to run.
    pub turn: Turn<T>,
    /// Why the batch was closed.
    pub release: Release,
    /// What cannot be done in time any more, and is not in the batch.
    pub late: Vec<T>,
}

impl<T> Clone for Ready<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Due> Ready<T> {
    /// An empty queue and its first feeder. `delay` is the longest wait for a batch to fill; the nearest
    /// deadline among its images ends it early.
    pub fn new(shape: Shape, delay: Duration) -> (Self, Feeder<T>) {
        let state = State { feeders: 1, ..State::default() };
        let [wide, narrow, room] = [(); 3].map(|()| Condvar::new());
        let coming = state.coming.clone();
        let ready = Self(Arc::new(Inner { state: Mutex::new(state), coming, wide, narrow, room, shape, delay }));
        (ready.clone(), Feeder(ready))
    }

    /// The part of the cores that a session of that kind has.
    pub fn share(&self, kind: Kind) -> f64 {
        match kind {
            Kind::Wide => 1.0,
            Kind::Narrow => 1.0 / self.0.shape.narrow.max(1) as f64,
        }
    }

    /// The next batch for a session of that kind, as soon as it is its turn. `None` at the end.
    pub fn take(&self, kind: Kind, batch: &mut Vec<T>) -> Option<Taken<T>> {
        let Inner { state, shape, delay, .. } = &*self.0;
        let woken = self.0.waits(kind);
        let mut state = state.lock();
        loop {
            match state.turn(shape) {
                Some(turn) if turn == kind => break,
                // An image that was announced after the last look may have made it the turn of others, whom nobody has woken.
                Some(turn) => _ = self.0.waits(turn).notify_one(),
                None if state.items.is_empty() && state.feeders == 0 => return None,
                None => {}
            }
            woken.wait(&mut state);
        }
        let late = state.give_up(kind);
        let most = match kind {
            Kind::Wide => shape.wide_batch,
            Kind::Narrow => {
                // The first one to wake must not take what the others could do at the same time.
                let idle = shape.narrow - state.narrow_runs;
                state.items.len().div_ceil(idle).min(shape.narrow_batch)
            }
        };
        match kind {
            Kind::Wide => state.wide_runs = true,
            Kind::Narrow => state.narrow_runs += 1,
        }
        let full = if kind == Kind::Wide { shape.wide_batch } else { shape.narrow_batch };
        let patient_until = Instant::now() + *delay;
        let mut waited_for = None;
        while state.items.len() < full && state.feeders > 0 && !delay.is_zero() && waited_for.is_none() {
            let (closes_at, why) = state.closes_at(patient_until);
            waited_for = woken.wait_until(&mut state, closes_at).timed_out().then_some(why);
        }
        let ready = state.items.len().min(if delay.is_zero() { most } else { full });
        let rows = state.in_time(kind, ready);
        batch.extend(state.items.drain(..rows));
        if !late.is_empty() {
            state.pace[kind as usize].gave_up();
        }
        let release = match waited_for {
            _ if rows < ready => Release::Deadline,
            _ if rows == full => Release::Full,
            why => why.unwrap_or(Release::Idle),
        };
        self.0.wake(&state);
        drop(state);
        self.0.room.notify_all();
        let turn = Turn { ready: self.clone(), kind, since: Instant::now(), rows: 0 };
        Some(Taken { turn, release, late })
    }
}

impl<T> Feeder<T> {
    /// An image begins to be decoded. Locks nothing: who has work to do must not wait for a lock.
    pub fn announce(&self) -> Coming<'_, T> {
        self.0.0.coming.fetch_add(1, Ordering::Relaxed);
        Coming { inner: &self.0.0, since: Instant::now(), has_ended: false }
    }
}

impl<'a, T> Coming<'a, T> {
    /// The image is decoded. Waits while the sessions have as much as they can take next.
    pub fn push(mut self, item: T) {
        let (inner, mut state) = (self.inner, self.ended());
        while state.items.len() >= inner.shape.in_flight() {
            inner.room.wait(&mut state);
        }
        state.items.push_back(item);
        inner.wake(&state);
    }

    fn ended(&mut self) -> MutexGuard<'a, State<T>> {
        self.has_ended = true;
        self.inner.coming.fetch_sub(1, Ordering::Relaxed);
        let took = self.since.elapsed();
        let mut state = self.inner.state.lock();
        state.decoded_in(took);
        state
    }
}

impl<T> Drop for Coming<'_, T> {
    fn drop(&mut self) {
        if !self.has_ended {
            let inner = self.inner;
            inner.wake(&self.ended());
        }
    }
}

impl<T> Clone for Feeder<T> {
    fn clone(&self) -> Self {
        self.0.0.state.lock().feeders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Feeder<T> {
    fn drop(&mut self) {
        let mut state = self.0.0.state.lock();
        state.feeders -= 1;
        self.0.0.wake(&state);
    }
}

impl<T> Turn<T> {
    /// A run of so many rows begins.
    pub fn runs(&mut self, rows: usize) {
        (self.since, self.rows) = (Instant::now(), rows);
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        let mut state = self.ready.0.state.lock();
        if self.rows > 0 {
            state.took = self.since.elapsed();
            let took = state.took;
            state.pace[self.kind as usize].ran(self.rows, took);
        }
        match self.kind {
            Kind::Wide => state.wide_runs = false,
            Kind::Narrow => state.narrow_runs -= 1,
        }
        self.ready.0.wake(&state);
    }
}
