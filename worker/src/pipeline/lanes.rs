//! The queue in front of the decode threads: interactive jobs first, bulk jobs never forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use shoal_shared::names::Lane;

/// Interactive jobs taken in a row while bulk jobs wait: bulk gets at least every fifth turn.
const INTERACTIVE_RUN: u32 = 4;

/// Something that belongs to a lane.
pub trait Laned {
    /// Its lane.
    fn lane(&self) -> Lane;
}

/// The order of service, apart from locks and threads.
struct Queue<T> {
    interactive: VecDeque<T>,
    bulk: VecDeque<T>,
    run: u32,
    closed: bool,
}

impl<T: Laned> Queue<T> {
    fn push(&mut self, item: T) {
        match item.lane() {
            Lane::Interactive => self.interactive.push_back(item),
            Lane::Bulk => self.bulk.push_back(item),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let bulks_turn = self.run >= INTERACTIVE_RUN || self.interactive.is_empty();
        if bulks_turn && let Some(item) = self.bulk.pop_front() {
            self.run = 0;
            return Some(item);
        }
        let item = self.interactive.pop_front()?;
        self.run = if self.bulk.is_empty() { 0 } else { self.run + 1 };
        Some(item)
    }
}

/// Shared ends of the queue; its length is bounded by the slots of the jobs in it.
pub struct Lanes<T> {
    queue: Mutex<Queue<T>>,
    filled: Condvar,
}

/// An empty queue.
pub fn lanes<T: Laned>() -> Arc<Lanes<T>> {
    let queue = Queue { interactive: VecDeque::new(), bulk: VecDeque::new(), run: 0, closed: false };
    Arc::new(Lanes { queue: Mutex::new(queue), filled: Condvar::new() })
}

impl<T: Laned> Lanes<T> {
    /// Adds an item.
    pub fn push(&self, item: T) {
        self.queue.lock().push(item);
        self.filled.notify_one();
    }

    /// Takes the next item, waiting for one; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(item) = queue.pop() {
                return Some(item);
            }
            if queue.closed {
                return None;
            }
            self.filled.wait(&mut queue);
        }
    }

    /// Nothing more will be pushed.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Laned for (Lane, u32) {
        fn lane(&self) -> Lane {
            self.0
        }
    }

    fn drain(items: impl IntoIterator<Item = (Lane, u32)>) -> Vec<(Lane, u32)> {
        let lanes = lanes();
        items.into_iter().for_each(|item| lanes.push(item));
        lanes.close();
        std::iter::from_fn(|| lanes.pop()).collect()
    }

    #[test]
    fn interactive_overtakes_and_bulk_gets_every_fifth_turn() {
        let bulk = (0..3).map(|i| (Lane::Bulk, i));
        let interactive = (0..10).map(|i| (Lane::Interactive, i));
        let served = drain(bulk.chain(interactive));
        let turns: Vec<usize> =
            served.iter().enumerate().filter(|(_, item)| item.0 == Lane::Bulk).map(|(turn, _)| turn).collect();
        assert_eq!(turns, [4, 9, 12]);
    }

    #[test]
    fn within_a_lane_the_order_is_kept() {
        let served = drain((0..50).map(|i| (if i % 3 == 0 { Lane::Bulk } else { Lane::Interactive }, i)));
        for lane in Lane::ALL {
            let of_lane: Vec<u32> = served.iter().filter(|item| item.0 == lane).map(|item| item.1).collect();
            assert!(of_lane.is_sorted());
        }
    }

    #[test]
    fn closing_wakes_every_waiting_thread() {
        let lanes = lanes::<(Lane, u32)>();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| lanes.pop())).collect();
            lanes.close();
            waiting.into_iter().for_each(|thread| assert!(thread.join().unwrap().is_none()));
        });
    }
}
