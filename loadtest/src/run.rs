//! One run: warm up, drive the load, gather what is seen, stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::board::MAX_SLICES_WAITING;
use crate::engine::Engine;
use crate::slice::Slice;
use crate::{arrivals, users};

/// This process's part of a load that several agents share.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    index: usize,
    of: usize,
}

/// How long answers are awaited after the run was interrupted.
const HASTY_DRAIN: Duration = Duration::from_secs(2);

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Agent `index` of `of`.
    pub fn new(index: usize, of: usize) -> Self {
        Self { index: index.min(of.max(1) - 1), of: of.max(1) }
    }

    /// This part of a count; the parts add up to it.
    pub fn of(&self, count: usize) -> usize {
        count / self.of + usize::from(self.index < count % self.of)
    }

    /// This part of a rate.
    pub fn share(&self) -> f64 {
        1.0 / self.of as f64
    }
}

/// Drives this part of the load from `start` on, and hands on a slice every second. Ends when every
/// request has ended, or when `stop` was ordered and two seconds have passed.
pub async fn drive(engine: Arc<Engine>, part: Part, start: Instant, stop: Shutdown) -> mpsc::Receiver<Slice> {
    let (slices, received) = mpsc::channel(MAX_SLICES_WAITING);
    let done = Shutdown::new();
    let board = engine.board.clone();
    let watched = done.clone();
    tokio::spawn(async move { board.run(start, slices, async { watched.ordered().await }).await });
    tokio::spawn(async move {
        let waiting = if engine.scenario.is_open() {
            arrivals::run(&engine, part, start, &stop).await
        } else {
            users::run(&engine, part, start, &stop).await
        };
        drain(waiting, engine.scenario.target.timeout, &stop).await;
        done.order();
    });
    received
}

async fn drain(mut waiting: JoinSet<()>, patience: Duration, stop: &Shutdown) {
    let hasty = async {
        stop.ordered().await;
        tokio::time::sleep(HASTY_DRAIN).await;
    };
    let all = async { while waiting.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = hasty => {}
        () = tokio::time::sleep(patience) => {}
    }
    // What has not ended is written down as unfinished.
    waiting.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        for count in [0, 1, 7, 100] {
            assert_eq!((0..3).map(|index| Part::new(index, 3).of(count)).sum::<usize>(), count);
        }
        assert_eq!(Part::WHOLE.of(5), 5);
    }
}
