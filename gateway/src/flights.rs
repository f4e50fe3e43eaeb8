//! Single-flight: everybody who asks the same at the same time shares one job.
//!
//! A flight is a task of its own, owned by those who wait for it. No client leads: whoever hangs
//! up just leaves, and when the last one has left the flight is cancelled and its job removed.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use shoal_shared::digest::CacheKey;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Flights in progress, by what they are to find out.
pub struct Flights<T> {
    by_key: Arc<ByKey<T>>,
}

type ByKey<T> = Mutex<HashMap<CacheKey, Weak<Flight<T>>, RandomState>>;

/// One flight; lives as long as somebody waits for it.
pub struct Flight<T> {
    result: watch::Receiver<Option<T>>,
    task: AbortHandle,
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for the result. `None` when the flight ended without one: it panicked.
    pub async fn landed(&self) -> Option<T> {
        let mut result = self.result.clone();
        let landed = result.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// No flights.
    pub fn new() -> Self {
        Self { by_key: Arc::default() }
    }

    /// Joins the flight for `key`, or starts one. Tells whether this call started it.
    pub fn join<F>(&self, key: &CacheKey, start: impl FnOnce() -> F) -> (Arc<Flight<T>>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut by_key = self.by_key.lock();
        if let Some(flight) = by_key.get(key).and_then(Weak::upgrade) {
            return (flight, false);
        }
        let flight = Self::launch(start(), Some((self.by_key.clone(), key.clone())));
        by_key.insert(key.clone(), Arc::downgrade(&flight));
        (flight, true)
    }

    /// The flight for `key`, if there is one; whoever holds it keeps it in the air.
    pub fn find(&self, key: &CacheKey) -> Option<Arc<Flight<T>>> {
        self.by_key.lock().get(key).and_then(Weak::upgrade)
    }

    /// Starts a flight that nobody else can join.
    pub fn alone<F>(&self, work: F) -> Arc<Flight<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        Self::launch(work, None)
    }

    fn launch<F>(work: F, entry: Option<Entry<T>>) -> Arc<Flight<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, result) = watch::channel(None);
        // Kilobytes, which a task would move several times on its way to the scheduler.
        let work = Box::pin(work);
        let task = tokio::spawn(async move {
            // Dropped when the flight ends in any way, so that the next asker starts afresh.
            let _leave = entry.map(Leave);
            let landed = work.await;
            drop(_leave);
            sender.send_replace(Some(landed));
        });
        Arc::new(Flight { result, task: task.abort_handle() })
    }

    /// Flights in progress.
    pub fn len(&self) -> usize {
        self.by_key.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone + Send + Sync + 'static> Default for Flights<T> {
    fn default() -> Self {
        Self::new()
    }
}

type Entry<T> = (Arc<ByKey<T>>, CacheKey);

/// Takes a flight off the map when it ends.
struct Leave<T>(Entry<T>);

impl<T> Drop for Leave<T> {
    fn drop(&mut self) {
        let (by_key, key) = &self.0;
        let mut by_key = by_key.lock();
        // A cancelled flight may already have been replaced by a live one under the same key.
        if by_key.get(key).is_some_and(|flight| flight.upgrade().is_none_or(|flight| is_this_task(&flight))) {
            by_key.remove(key);
        }
    }
}

fn is_this_task<T>(flight: &Flight<T>) -> bool {
    tokio::task::try_id() == Some(flight.task.id())
}
