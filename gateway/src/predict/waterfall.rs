//! Where the time of one prediction went: stages that add up to the whole.
//!
//! The worker measures its own part, the gateway the whole. What a clock of another host says (the time
//! in the stream) is never believed beyond what the gateway has seen pass.

use std::time::{Duration, Instant};

use shoal_shared::attribution::StageTimes;
use shoal_shared::prediction::Served;

use super::Published;

/// Answered from a tier of the cache.
pub(super) fn looked_up(waited: Duration) -> StageTimes {
    let mut stages = StageTimes::default();
    stages.set("cache", waited.as_secs_f64());
    stages
}

/// Answered by the job of somebody else.
pub(super) fn joined(waited: Duration) -> StageTimes {
    let mut stages = StageTimes::default();
    stages.set("join", waited.as_secs_f64());
    stages
}

/// Answered by a flight of its own.
pub(super) fn flown(
    waited: Duration,
    asked: Instant,
    published: Option<Published>,
    served: Option<&Served>,
) -> StageTimes {
    let (Some(published), Some(served)) = (published, served) else { return looked_up(waited) };
    let mut stages = looked_up(published.begun.saturating_duration_since(asked));
    let way = waited.as_secs_f64() - stages.total();
    let seconds = |us: u32| f64::from(us) / 1e6;
    let timings = &served.timings;
    stages.set("fetch", seconds(timings.fetch));
    stages.set("decode", seconds(timings.decode));
    stages.set("batch_wait", seconds(timings.batch_wait));
    stages.set("infer", seconds(timings.infer));
    stages.set("store", seconds(timings.store));
    let work = stages.total() - stages.get("cache");
    // The broker's acknowledgement and the job are on their way at the same time: what is left beside
    // the time in the stream was the way there, as far as it fits, and the way back.
    let queue = seconds(timings.queue).min((way - work).max(0.0));
    let rest = (way - work - queue).max(0.0);
    let publish = published.took.as_secs_f64().min(rest);
    stages.set("queue", queue);
    stages.set("publish", publish);
    stages.set("reply", rest - publish);
    stages
}

#[cfg(test)]
mod tests {
    use shoal_shared::prediction::Timings;

    use super::*;

    fn served(queue: u32) -> Served {
        let timings = Timings { queue, fetch: 100, decode: 2_000, batch_wait: 900, infer: 20_000, store: 300 };
        Served { worker: "w".into(), batch: 1, attempt: 1, timings }
    }

    fn after(asked: Instant) -> Option<Published> {
        Some(Published { begun: asked + Duration::from_millis(1), took: Duration::from_micros(700) })
    }

    #[test]
    fn the_stages_are_the_whole() {
        let asked = Instant::now();
        for queue in [0, 500, 4_000] {
            let stages = flown(Duration::from_millis(30), asked, after(asked), Some(&served(queue)));
            assert!((stages.total() - 0.030).abs() < 1e-9, "{stages:?}");
            assert!((stages.get("queue") - f64::from(queue) / 1e6).abs() < 1e-9);
            assert!((stages.get("publish") - 0.0007).abs() < 1e-9);
        }
    }

    #[test]
    fn a_clock_that_is_ahead_takes_no_more_than_there_is() {
        let asked = Instant::now();
        let stages = flown(Duration::from_millis(30), asked, after(asked), Some(&served(9_000_000)));
        assert!((stages.total() - 0.030).abs() < 1e-9, "{stages:?}");
        assert_eq!(stages.get("reply"), 0.0);
    }
}
