//! Acknowledgements in the order of delivery, as long as that takes a moment only.
//!
//! The broker keeps jobs in files, and drops a file when all of its jobs are done. A job that is done before an older
//! one of the same file leaves a hole instead, and for a hole in a file that is half empty the broker writes the rest of
//! it anew. With several decode threads there was one in nearly every file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Bytes from which on a job is worth it: with images of 1 KB, waiting gained nothing.
pub(crate) const WORTH_ORDER: usize = 4 << 10;
/// How long an acknowledgement waits for older ones. Nobody waits for it: the answer has been sent.
const LONGEST: Duration = Duration::from_millis(10);

/// Jobs in hand, by their sequence in the stream, with whoever waits to be the first.
#[derive(Default)]
pub(crate) struct Order(Mutex<BTreeMap<u64, Option<oneshot::Sender<()>>>>);

/// The place of one job; left when dropped.
pub(crate) struct Place {
    order: Arc<Order>,
    sequence: u64,
}

impl Order {
    /// A job has arrived.
    pub(crate) fn enter(self: &Arc<Self>, sequence: u64) -> Place {
        self.0.lock().insert(sequence, None);
        Place { order: self.clone(), sequence }
    }
}

impl Place {
    /// Resolves when no older job is in hand, or the moment is over.
    pub(crate) async fn turn(&self) {
        if let Some(come) = self.wait() {
            let _ = tokio::time::timeout(LONGEST, come).await;
        }
    }

    fn wait(&self) -> Option<oneshot::Receiver<()>> {
        let mut places = self.order.0.lock();
        let (first, _) = places.first_key_value()?;
        if *first >= self.sequence {
            return None;
        }
        let (turn, come) = oneshot::channel();
        places.insert(self.sequence, Some(turn));
        Some(come)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.order.0.lock();
        places.remove(&self.sequence);
        if let Some(turn) = places.first_entry().and_then(|mut first| first.get_mut().take()) {
            let _ = turn.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_younger_waits_for_the_older_and_not_for_ever() {
        let order = Arc::new(Order::default());
        let mut places: Vec<Place> = (1..=4).map(|sequence| order.enter(sequence)).collect();
        let done = Arc::new(Mutex::new(Vec::new()));
        let acknowledge = |place: Place| {
            let done = done.clone();
            tokio::spawn(async move {
                place.turn().await;
                done.lock().push(place.sequence);
            })
        };
        let (fourth, third) = (places.pop().unwrap(), places.pop().unwrap());
        let waiting = [acknowledge(third), acknowledge(fourth)];
        tokio::time::sleep(LONGEST / 2).await;
        assert!(done.lock().is_empty());
        // The first is given back, the second is done.
        drop(places.remove(0));
        acknowledge(places.remove(0)).await.unwrap();
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(*done.lock(), [2, 3, 4]);

        let (_slow, quick) = (order.enter(5), order.enter(6));
        let begun = tokio::time::Instant::now();
        acknowledge(quick).await.unwrap();
        assert_eq!((begun.elapsed() >= LONGEST, done.lock().last().copied()), (true, Some(6)));
        assert_eq!(order.0.lock().len(), 1);
    }
}
