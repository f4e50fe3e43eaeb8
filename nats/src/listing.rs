//! Reading many messages of a stream at once, in order, with a bound.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::connect::{Bus, BusError};

/// Header of a key that was deleted.
const KEY_OPERATION: &str = "KV-Operation";

/// A stored message.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// What it says.
    pub payload: Bytes,
}

impl Bus {
    /// At most `limit` messages under `filter`, oldest first. Deleted keys are left out.
    pub(crate) async fn list(&self, stream: &str, filter: String, limit: usize) -> Result<Vec<Stored>, BusError> {
        let failed = |error: String| BusError::request(format!("listing stream {stream}"), error);
        let config = pull::Config {
            filter_subject: filter,
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(10),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let created = self.js.create_consumer_on_stream(config, stream).await;
        let consumer = created.map_err(|error| failed(error.to_string()))?;
        let count = (consumer.cached_info().num_pending as usize).min(limit);
        if count == 0 {
            return Ok(Vec::new());
        }
        let batch = consumer.fetch().max_messages(count).messages().await.map_err(|error| failed(error.to_string()))?;
        let stored = batch.try_filter_map(|message| async move {
            let deleted = message.headers.as_ref().is_some_and(|headers| headers.get(KEY_OPERATION).is_some());
            let sequence = message.info()?.stream_sequence;
            let subject = message.subject.to_string();
            Ok((!deleted).then(|| Stored { sequence, subject, payload: message.payload.clone() }))
        });
        let listed = stored.try_collect().await.map_err(|error| failed(error.to_string()));
        // It would go by itself; a listing must not leave ten seconds of consumers behind it.
        let _ = self.js.delete_consumer_from_stream(&consumer.cached_info().name, stream).await;
        listed
    }
}
