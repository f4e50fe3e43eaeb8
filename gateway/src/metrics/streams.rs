//! What the broker keeps, asked of the JetStream API: no exporter is needed for it.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use shoal_nats::backlog::{Storage, StreamState};
use shoal_shared::metrics::{advance, register_all};

/// Streams and storage.
pub struct StreamMetrics {
    messages: IntGaugeVec,
    bytes: IntGaugeVec,
    max_bytes: IntGaugeVec,
    published: IntCounterVec,
    storage: IntGauge,
    max_storage: IntGauge,
}

impl StreamMetrics {
    /// Registers everything.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let by_stream = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["stream"]);
        let metrics = Self {
            messages: by_stream("shoal_stream_messages", "Messages in a stream")?,
            bytes: by_stream("shoal_stream_bytes", "Bytes in a stream")?,
            max_bytes: by_stream("shoal_stream_max_bytes", "Bytes that a stream may have; 0: no bound")?,
            published: IntCounterVec::new(
                Opts::new("shoal_stream_published_total", "Messages published to a stream since it was made"),
                &["stream"],
            )?,
            storage: IntGauge::new("shoal_jetstream_bytes", "Bytes of file storage used by this account")?,
            max_storage: IntGauge::new(
                "shoal_jetstream_max_bytes",
                "Bytes of file storage that this account may use; 0: no bound",
            )?,
        };
        register_all(
            registry,
            &[
                &metrics.messages,
                &metrics.bytes,
                &metrics.max_bytes,
                &metrics.published,
                &metrics.storage,
                &metrics.max_storage,
            ],
        )?;
        Ok(metrics)
    }

    /// The streams as they are now.
    pub fn observe(&self, streams: &[StreamState], storage: &Storage) {
        for stream in streams {
            let labels = [stream.name.as_str()];
            self.messages.with_label_values(&labels).set(stream.messages as i64);
            self.bytes.with_label_values(&labels).set(stream.bytes as i64);
            self.max_bytes.with_label_values(&labels).set(stream.max_bytes.max(0));
            advance(&self.published.with_label_values(&labels), stream.published);
        }
        self.storage.set(storage.bytes as i64);
        self.max_storage.set(storage.max_bytes.max(0));
    }
}
