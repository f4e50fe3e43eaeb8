//! What every crate's metrics struct shares: bucket edges, the text form, and what every process says
//! of itself and of its machine.

mod exemplars;
mod open_metrics;
mod process;

use prometheus::core::Collector;
use prometheus::{IntCounter, Registry, TextEncoder};

pub use exemplars::Exemplars;
pub use process::register_process;

/// Seconds: from the fraction of a millisecond a cache hit takes to the tens of seconds of a
/// request that waits for its deadline. Steps of about 2 keep quantile error under 25 %.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1,
    0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Images in a batch: powers of two up to the largest allowed.
pub const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Registered metrics as text, in the format that the scraper accepts.
pub struct Scrape {
    /// Its content type.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

/// Everything registered: OpenMetrics with exemplars for a scraper that accepts it, and Prometheus's
/// older text format otherwise.
pub fn scrape(registry: &Registry, exemplars: Option<&Exemplars>, accept: Option<&str>) -> Scrape {
    // Encoding into a string fails only for a metric family without a name, which registering refuses.
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default();
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        let body = open_metrics::from_text(&text, exemplars);
        return Scrape { content_type: open_metrics::CONTENT_TYPE, body };
    }
    Scrape { content_type: "text/plain; version=0.0.4; charset=utf-8", body: text }
}

/// Moves a counter to a value that somebody else counts. One that has started anew starts anew here; one
/// that is a little behind was told by somebody who has not heard the latest, and is passed over.
pub fn advance(counter: &IntCounter, value: u64) {
    if value < counter.get() / 2 {
        counter.reset();
    }
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// A metric that a registry can share: a field of a metrics struct is registered by reference.
pub trait Registered {
    /// The same metric, boxed for a registry.
    fn shared(&self) -> Box<dyn Collector>;
}

impl<T: Collector + Clone + 'static> Registered for T {
    fn shared(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }
}

/// Registers every field of a metrics struct.
pub fn register_all(registry: &Registry, metrics: &[&dyn Registered]) -> prometheus::Result<()> {
    metrics.iter().try_for_each(|metric| registry.register(metric.shared()))
}
