//! Bucket edges and the text form, shared by every crate's metrics struct.

use prometheus::{Registry, TextEncoder};

/// Seconds: from the fraction of a millisecond a cache hit takes to the tens of seconds of a
/// request that waits for its deadline. Steps of about 2 keep quantile error under 25 %.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1,
    0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Images in a batch: powers of two up to the largest allowed.
pub const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Everything registered, in Prometheus's text format.
pub fn render(registry: &Registry) -> String {
    // Encoding into a string fails only for a metric family without a name, which registering refuses.
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
}

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
