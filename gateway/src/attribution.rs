//! Measures what the attribution judges: counters now against the same counters ten seconds ago.

mod window;

use std::time::Duration;

use shoal_shared::attribution::{Report, Situation, attribute};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::status::{BySource, Percentiles};
use tokio::time::MissedTickBehavior;

use crate::predict::Predictor;
use window::{Sample, Window};

/// How often the verdict is renewed.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was seen over the window.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Which part is the bottleneck.
    pub report: Report,
    /// Predictions answered a second.
    pub answered: BySource,
    /// Their latency.
    pub latency_ms: Option<Percentiles>,
}

impl Default for Judged {
    fn default() -> Self {
        Self { report: attribute(Situation::default()), answered: BySource::default(), latency_ms: None }
    }
}

/// Judges until shutdown is ordered.
pub async fn run(predictor: Predictor, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut window = Window::default();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.ordered() => return,
        }
        let sample = Sample::take(&predictor);
        let (metrics, threads) = (predictor.metrics(), sample.threads);
        metrics.threads.set(threads as i64);
        metrics.busy.inc_by((sample.busy - metrics.busy.get()).max(0.0));
        window.push(sample);
        let report = attribute(window.situation(&predictor));
        metrics.fleet.attributed(&report);
        predictor.judged(Judged { report, answered: window.answered(), latency_ms: window.latency() });
    }
}
