//! A lease of CPU threads: each run of a session takes as many as it computes with, so that models beside
//! each other never compute with more threads than the process has been given.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// The threads of one process. Cheap to clone.
#[derive(Clone)]
pub struct CpuBudget(Arc<Inner>);

struct Inner {
    threads: usize,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    free: usize,
    /// The next ticket to be given out, and the one whose turn it is: in the order of asking, so that a
    /// wide session is not overtaken by narrow ones for ever.
    next: u64,
    turn: u64,
}

/// Threads on loan; given back when dropped.
pub struct CpuLease(CpuBudget, usize);

impl CpuBudget {
    /// A budget of so many threads.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let state = Mutex::new(State { free: threads, next: 0, turn: 0 });
        Self(Arc::new(Inner { threads, state, returned: Condvar::new() }))
    }

    /// Threads in all.
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// Takes threads, all of them at most; waits until they are free.
    pub fn lease(&self, threads: usize) -> CpuLease {
        let wanted = threads.clamp(1, self.0.threads);
        let mut state = self.0.state.lock();
        let ticket = state.next;
        state.next += 1;
        while state.turn != ticket || state.free < wanted {
            self.0.returned.wait(&mut state);
        }
        state.turn += 1;
        state.free -= wanted;
        drop(state);
        // What is left may be enough for the next one.
        self.0.returned.notify_all();
        CpuLease(self.clone(), wanted)
    }
}

impl Drop for CpuLease {
    fn drop(&mut self) {
        self.0.0.state.lock().free += self.1;
        self.0.0.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn never_more_threads_than_there_are_and_nobody_starves() {
        let budget = CpuBudget::new(3);
        let running = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (budget, running) = (&budget, &running);
                scope.spawn(move || {
                    // The wide ones ask for more than there is: they get all.
                    let wanted = if thread == 0 { 9 } else { 1 + thread % 2 };
                    for _ in 0..200 {
                        let lease = budget.lease(wanted);
                        let now = running.fetch_add(lease.1, Ordering::SeqCst) + lease.1;
                        assert!(now <= 3, "{now}");
                        running.fetch_sub(lease.1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(budget.0.state.lock().free, 3);
    }
}
