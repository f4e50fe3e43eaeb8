//! A request on its way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::board::Board;
use crate::client::Trouble;
use crate::outcome::Outcome;
use crate::slice::Ended;

/// A request on its way: written down when it ends, and also when the run ends before it does.
pub(super) struct Pending {
    board: Arc<Board>,
    task: usize,
    due: Instant,
    sent: Instant,
    written: bool,
}

impl Pending {
    pub(super) fn new(board: Arc<Board>, task: usize, due: Instant) -> Self {
        board.outstanding.fetch_add(1, Ordering::Relaxed);
        Self { board, task, due, sent: Instant::now(), written: false }
    }

    pub(super) fn end(mut self, outcome: Outcome, bytes: usize, cache: Option<String>) {
        self.write(outcome, bytes, cache);
    }

    pub(super) fn trouble(mut self, trouble: Trouble) {
        match trouble {
            Trouble::Theirs(outcome) => self.write(outcome, 0, None),
            Trouble::Ours => {
                self.written = true;
                self.board.fall_short(1);
            }
        }
    }

    fn write(&mut self, outcome: Outcome, bytes: usize, cache: Option<String>) {
        self.written = true;
        let (latency, service) = (self.due.elapsed(), self.sent.elapsed());
        self.board.add(self.task, &Ended { outcome, latency, service, bytes, cache });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.board.outstanding.fetch_sub(1, Ordering::Relaxed);
        if !self.written {
            self.write(Outcome::Unfinished, 0, None);
        }
    }
}
