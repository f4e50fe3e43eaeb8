//! A worker whose session fails everything is quick at it: it would eat the whole queue. It notices
//! by failures in a row, and leaves.

use tokio::sync::watch;

/// Counts failures in a row.
pub struct FailureStreak {
    failures: u32,
    most: u32,
    broken: watch::Sender<bool>,
}

impl FailureStreak {
    /// Broken after `most` failures in a row, which the receiver is told.
    pub fn new(most: u32) -> (Self, watch::Receiver<bool>) {
        let (broken, verdict) = watch::channel(false);
        (Self { failures: 0, most: most.max(1), broken }, verdict)
    }

    /// A run succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A run of one image failed.
    pub fn failed(&mut self) {
        self.failures += 1;
        if self.failures >= self.most {
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
        let (mut streak, verdict) = FailureStreak::new(3);
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
