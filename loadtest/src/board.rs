//! Where every request of this process is written down, one slice a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::slice::{Ended, Slice};

/// Where every request is written down.
pub struct Board {
    slice: Mutex<Slice>,
    tasks: usize,
    /// Users there are.
    pub users: AtomicUsize,
    /// Requests without an answer.
    pub outstanding: AtomicUsize,
    /// Users that logged in.
    pub logins: AtomicU64,
}

/// Slices that may wait for whoever reads them.
pub const MAX_SLICES_WAITING: usize = 600;

/// How often the generator looks how late its own timers are.
const LAG_PROBE: Duration = Duration::from_millis(20);

impl Board {
    /// Nothing written yet; `tasks` counts the login.
    pub fn new(tasks: usize) -> Self {
        Self {
            slice: Mutex::new(Slice::new(0, tasks)),
            tasks,
            users: AtomicUsize::new(0),
            outstanding: AtomicUsize::new(0),
            logins: AtomicU64::new(0),
        }
    }

    /// A request ended.
    pub fn add(&self, task: usize, ended: &Ended) {
        self.slice.lock().add(task, ended);
    }

    /// Arrivals were due and could not be sent.
    pub fn fall_short(&self, count: u64) {
        self.slice.lock().shortfall += count;
    }

    fn take(&self, next: u32) -> Slice {
        let mut slice = std::mem::replace(&mut *self.slice.lock(), Slice::new(next, self.tasks));
        slice.users = self.users.load(Ordering::Relaxed) as u64;
        slice.outstanding = self.outstanding.load(Ordering::Relaxed) as u64;
        slice
    }

    /// Hands on a slice every second from `start` on; the last one when `ended` resolves.
    pub async fn run(self: Arc<Self>, start: Instant, slices: mpsc::Sender<Slice>, ended: impl Future<Output = ()>) {
        tokio::pin!(ended);
        let mut next = 1u32;
        let probe = async {
            loop {
                let due = tokio::time::Instant::now() + LAG_PROBE;
                tokio::time::sleep_until(due).await;
                // Timers have a resolution of a millisecond, which is no lateness.
                let late = due.elapsed().saturating_sub(Duration::from_millis(1));
                self.slice.lock().lag.saturating_record(late.as_micros().max(1) as u64);
            }
        };
        tokio::pin!(probe);
        loop {
            let due = tokio::time::Instant::from_std(start + Duration::from_secs(u64::from(next)));
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    let _ = slices.send(self.take(next)).await;
                    next += 1;
                }
                () = &mut probe => return,
                () = &mut ended => {
                    let _ = slices.send(self.take(next)).await;
                    return;
                }
            }
        }
    }
}
