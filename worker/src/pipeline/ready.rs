//! Decoded images on their way to the sessions: who may take how many, and when.
//!
//! Two kinds of sessions share the cores. The *wide* one has a thread for each core and answers one
//! image soonest; *narrow* ones have a thread each and, side by side, work off a queue fastest. They
//! never run at the same time: idle, the wide one takes what comes; when more is ready than it is
//! good for, the narrow ones take over and share it out, until they have run dry.
//!
//! While batches run, the next collect here by themselves: no delay is needed to form them under
//! load, and none is paid when idle.
//!
//! A batch is as large as the nearest of its deadlines allows, and what cannot be done in time even alone is not
//! begun: the session would be late for the next one too, and so for every one in a queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use super::pace::Pace;

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
        } else if state.is_turn_of(Kind::Wide, &self.shape) {
            self.wide.notify_one();
        } else if state.is_turn_of(Kind::Narrow, &self.shape) {
            self.narrow.notify_one();
        }
    }
}

struct State<T> {
    items: VecDeque<T>,
    feeders: usize,
    wide_runs: bool,
    narrow_runs: usize,
    /// How long the latest run took: what a batch must leave before a deadline.
    took: Duration,
    /// Of the wide session, and of the narrow ones.
    pace: [Pace; 2],
}

/// Puts images in; when the last one is dropped, the queue ends.
pub struct Feeder<T>(Ready<T>);

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
        let ready = Self(Arc::new(Inner { state: Mutex::new(state), wide, narrow, room, shape, delay }));
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
        while !state.is_turn_of(kind, shape) {
            if state.items.is_empty() && state.feeders == 0 {
                return None;
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

impl<T: Due> State<T> {
    /// When a batch that is being filled must run, and why then.
    fn closes_at(&self, patient_until: Instant) -> (Instant, Release) {
        let due = self.items.iter().filter_map(Due::due).min();
        let latest = due.map(|due| due.checked_sub(self.took).unwrap_or_else(Instant::now));
        match latest {
            Some(latest) if latest < patient_until => (latest, Release::Deadline),
            _ => (patient_until, Release::Delay),
        }
    }
}

impl<T: Due> State<T> {
    /// Takes out what a session of that kind cannot do in time even alone.
    fn give_up(&mut self, kind: Kind) -> Vec<T> {
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
    fn in_time(&self, kind: Kind, most: usize) -> usize {
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
            wide_runs: false,
            narrow_runs: 0,
            took: Duration::ZERO,
            pace: Default::default(),
        }
    }
}

impl<T> State<T> {
    fn is_turn_of(&self, kind: Kind, shape: &Shape) -> bool {
        let waiting = self.items.len();
        if waiting == 0 || self.wide_runs {
            return false;
        }
        let narrow = shape.narrow > 0 && (self.narrow_runs > 0 || waiting > shape.wide_rows);
        match kind {
            Kind::Wide => !narrow,
            Kind::Narrow => narrow,
        }
    }
}

impl<T> Feeder<T> {
    /// Puts one image in; waits while the sessions have as much as they can take next.
    pub fn push(&self, item: T) {
        let Inner { state, room, shape, .. } = &*self.0.0;
        let mut state = state.lock();
        while state.items.len() >= shape.in_flight() {
            room.wait(&mut state);
        }
        state.items.push_back(item);
        self.0.0.wake(&state);
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

#[cfg(test)]
mod tests {
    use super::*;

    impl Due for u32 {
        fn due(&self) -> Option<Instant> {
            // From a thousand on: at once.
            (*self >= 1000).then(Instant::now)
        }
    }

    const SHAPE: Shape = Shape { narrow: 2, wide_rows: 1, wide_batch: 8, narrow_batch: 4 };
    const WIDE_ONLY: Shape = Shape { narrow: 0, wide_rows: 0, wide_batch: 8, narrow_batch: 0 };

    fn take(ready: &Ready<u32>, kind: Kind) -> (Vec<u32>, Turn<u32>, Release) {
        let mut batch = Vec::new();
        let taken = ready.take(kind, &mut batch).unwrap();
        (batch, taken.turn, taken.release)
    }

    fn is_turn(ready: &Ready<u32>, kind: Kind) -> bool {
        ready.0.state.lock().is_turn_of(kind, &ready.0.shape)
    }

    #[test]
    fn one_image_goes_to_the_wide_session_and_many_to_the_narrow_ones() {
        let (ready, feeder) = Ready::new(SHAPE, Duration::ZERO);
        feeder.push(0);
        assert!(is_turn(&ready, Kind::Wide) && !is_turn(&ready, Kind::Narrow));
        let (batch, turn, _) = take(&ready, Kind::Wide);
        assert_eq!(batch, [0]);
        (1..=6).for_each(|item| feeder.push(item));
        assert!(!is_turn(&ready, Kind::Narrow), "the wide one has the cores");
        drop(turn);
        assert!(is_turn(&ready, Kind::Narrow) && !is_turn(&ready, Kind::Wide));
        // Shared out, although one could have taken four.
        let (first, first_turn, _) = take(&ready, Kind::Narrow);
        let (second, second_turn, _) = take(&ready, Kind::Narrow);
        assert_eq!((first.as_slice(), second.as_slice()), ([1, 2, 3].as_slice(), [4, 5, 6].as_slice()));
        // As long as one of them runs, what comes is theirs.
        drop(first_turn);
        feeder.push(7);
        assert!(is_turn(&ready, Kind::Narrow) && !is_turn(&ready, Kind::Wide));
        drop(second_turn);
        assert!(is_turn(&ready, Kind::Wide));
    }

    #[test]
    fn takes_what_is_ready_and_never_more_than_the_session_takes() {
        let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::ZERO);
        (0..8).for_each(|item| feeder.push(item));
        let (batch, turn, release) = take(&ready, Kind::Wide);
        assert_eq!((batch.len(), release), (8, Release::Full));
        drop(turn);
        (0..3).for_each(|item| feeder.push(item));
        let (batch, _, release) = take(&ready, Kind::Wide);
        assert_eq!((batch.len(), release), (3, Release::Idle));
    }

    #[test]
    fn a_delay_ends_when_the_batch_is_full_or_the_time_is_over() {
        let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::from_millis(20));
        feeder.push(1);
        let (batch, turn, release) = take(&ready, Kind::Wide);
        assert_eq!((batch.len(), release), (1, Release::Delay));
        drop(turn);
        (0..8).for_each(|item| feeder.push(item));
        assert_eq!(take(&ready, Kind::Wide).2, Release::Full);
    }

    #[test]
    fn the_nearest_deadline_closes_a_batch_early() {
        let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::from_secs(3600));
        (0..3).for_each(|item| feeder.push(item));
        feeder.push(1000);
        let (batch, _, release) = take(&ready, Kind::Wide);
        assert_eq!((batch.len(), release), (4, Release::Deadline));
    }

    #[derive(Debug, PartialEq)]
    struct At(Instant);

    impl Due for At {
        fn due(&self) -> Option<Instant> {
            Some(self.0)
        }
    }

    #[test]
    fn a_batch_ends_with_the_nearest_deadline_and_what_is_late_is_not_begun() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::ZERO);
        ready.0.state.lock().pace[Kind::Wide as usize].ran(2, 120 * second);
        let [far, near, nearer] = [600, 150, 30].map(|seconds| At(now + second * seconds));
        [nearer, far, near].into_iter().for_each(|item| feeder.push(item));
        (0..3).for_each(|_| feeder.push(At(now + 600 * second)));
        let mut batch = Vec::new();
        let taken = ready.take(Kind::Wide, &mut batch).unwrap();
        // A row takes a minute: three would be too many for the one that is due after two and a half.
        assert_eq!(taken.late, [At(now + 30 * second)]);
        assert_eq!(batch, [At(now + 600 * second), At(now + 150 * second)]);
        assert_eq!(taken.release, Release::Deadline);
    }

    #[test]
    fn a_deadline_leaves_time_for_the_run() {
        let now = Instant::now();
        let items = [9, 5, 7].map(|seconds| At(now + Duration::from_secs(seconds))).into();
        let state = State { items, feeders: 1, took: Duration::from_secs(1), ..State::default() };
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(state.closes_at(after(9)), (after(4), Release::Deadline));
        assert_eq!(state.closes_at(after(3)), (after(3), Release::Delay));
    }

    #[test]
    fn a_full_queue_holds_its_feeders_and_a_closed_one_gives_its_rest() {
        let (ready, feeder) = Ready::new(SHAPE, Duration::ZERO);
        let taken = std::thread::scope(|scope| {
            let feeding = feeder.clone();
            scope.spawn(move || (0..100).for_each(|item| feeding.push(item)));
            drop(feeder);
            let sessions: Vec<_> = [Kind::Wide, Kind::Narrow, Kind::Narrow]
                .into_iter()
                .map(|kind| {
                    let ready = ready.clone();
                    scope.spawn(move || {
                        let (mut batch, mut taken) = (Vec::new(), 0);
                        while let Some(Taken { turn, .. }) = ready.take(kind, &mut batch) {
                            assert!(ready.0.state.lock().items.len() <= SHAPE.in_flight());
                            taken += batch.len();
                            batch.clear();
                            drop(turn);
                        }
                        taken
                    })
                })
                .collect();
            sessions.into_iter().map(|session| session.join().unwrap()).sum::<usize>()
        });
        assert_eq!(taken, 100);
    }
}
