//! A worker whose session fails everything is quick at it: it would eat the whole queue. It notices
//! by failures in a row, and leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

/// Counts failures in a row, over all sessions of a worker. Cheap to clone.
#[derive(Clone)]
pub struct FailureStreak {
    failures: Arc<AtomicU32>,
    most: u32,
    broken: watch::Sender<bool>,
}

impl FailureStreak {
    /// Broken after `most` failures in a row, which the receiver is told.
    pub fn new(most: u32) -> (Self, watch::Receiver<bool>) {
        let (broken, verdict) = watch::channel(false);
        (Self { failures: Arc::default(), most: most.max(1), broken }, verdict)
    }

    /// A run succeeded.
    pub fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// A run of one image failed.
    pub fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= self.most {
            self.broken.send_replace(true);
        }
    }

    /// Whether it has come to that; there is no way back.
    pub fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_between_failures_is_a_fresh_start() {
        let (streak, verdict) = FailureStreak::new(3);
        for _ in 0..10 {
            streak.failed();
            streak.failed();
            streak.succeeded();
        }
        assert!(!streak.is_broken() && !*verdict.borrow());
        (0..3).for_each(|_| streak.failed());
        streak.succeeded();
        assert!(streak.is_broken() && *verdict.borrow());
    }
}
