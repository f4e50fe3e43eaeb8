//! What heartbeats tell of each model, written by whoever holds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use shoal_shared::names::ModelName;
use shoal_shared::presence::{HeldModel, HoldState, ModelStatus, Slots};

/// What one model has done since it was loaded.
#[derive(Default)]
pub struct Tally {
    images: AtomicU64,
    batches: AtomicU64,
    /// Microseconds that its sessions had the cores.
    busy: AtomicU64,
    /// When a job of it came last, milliseconds after `origin`.
    asked: AtomicU64,
}

impl Tally {
    /// A session ran.
    pub fn ran(&self, rows: usize, cores: Duration) {
        self.images.fetch_add(rows as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(cores.as_micros() as u64, Ordering::Relaxed);
    }

    /// A job came, so long after the process had started.
    pub fn asked(&self, at: Duration) {
        self.asked.store(at.as_millis() as u64, Ordering::Relaxed);
    }

    /// When a job came last, after the process had started.
    pub fn last_asked(&self) -> Duration {
        Duration::from_millis(self.asked.load(Ordering::Relaxed))
    }

    fn busy(&self) -> f64 {
        self.busy.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// Slots of one lane: in use, and in all.
pub(crate) type LaneSlots = (Arc<AtomicU32>, usize);

/// One line of the roll.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) status: ModelStatus,
    pub(crate) state: HoldState,
    pub(crate) reason: Option<String>,
    pub(crate) slots: Vec<LaneSlots>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) memory_bytes: u64,
    pub(crate) loaded_in: Duration,
    pub(crate) decoders: usize,
    pub(crate) int8_would_help: bool,
}

/// Every model of this process, the most wanted first. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Roll {
    lines: Arc<RwLock<Vec<Line>>>,
    /// Busy seconds at the last heartbeat, by model.
    before: Arc<Mutex<Vec<(ModelName, Instant, f64)>>>,
}

impl Roll {
    pub(crate) fn write(&self, lines: Vec<Line>) {
        *self.lines.write() = lines;
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.read().clone()
    }

    /// For a heartbeat: what each model has done since the last one.
    pub(crate) fn held(&self) -> Vec<HeldModel> {
        let mut before = self.before.lock();
        let now = Instant::now();
        let mut seen = Vec::new();
        let held = self.lines().into_iter().map(|line| {
            let name = line.status.name.clone();
            let used = line.tally.busy();
            let last = before.iter().find(|(known, ..)| *known == name);
            let share = last.map_or(0.0, |(_, at, then)| {
                (used - then) / now.duration_since(*at).max(Duration::from_millis(1)).as_secs_f64()
            });
            seen.push((name, now, used));
            HeldModel {
                state: line.state,
                reason: line.reason,
                slots: slots(&line.slots),
                busy: share.clamp(0.0, 1.0) as f32,
                images: line.tally.images.load(Ordering::Relaxed),
                batches: line.tally.batches.load(Ordering::Relaxed),
                memory_bytes: line.memory_bytes,
                loaded_in: line.loaded_in.as_secs_f32(),
                status: line.status,
            }
        });
        let held = held.collect();
        *before = seen;
        held
    }
}

fn slots(lanes: &[LaneSlots]) -> Slots {
    lanes.iter().fold(Slots::default(), |sum, (held, capacity)| Slots {
        total: sum.total + *capacity as u32,
        busy: sum.busy + held.load(Ordering::Relaxed),
    })
}
