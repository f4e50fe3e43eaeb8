//! Reading the latest messages of a stream at once, in order, with a bound.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
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
    /// The latest `limit` messages under `filter`, oldest first. Deleted keys are left out.
    pub(crate) async fn list(&self, stream: &str, filter: String, limit: usize) -> Result<Vec<Stored>, BusError> {
        let listing = Listing { bus: self, stream, filter: &filter };
        let mut listed = listing.read(listing.start(limit).await?, 2 * limit).await?;
        listed.drain(..listed.len().saturating_sub(limit));
        Ok(listed)
    }
}

/// What is listed, of one stream.
struct Listing<'a> {
    bus: &'a Bus,
    stream: &'a str,
    filter: &'a str,
}

impl Listing<'_> {
    /// A sequence from which there are at least `limit` messages, and few more than that. A stream
    /// cannot be read backwards, but it says at once how many there are from a place on.
    async fn start(&self, limit: usize) -> Result<u64, BusError> {
        let asked = async { self.bus.js.get_stream(self.stream).await.map_err(|error| self.failed(error.to_string())) };
        let stream = self.bus.ask(asked).await?;
        let state = &stream.cached_info().state;
        let (mut enough, mut too_few) = (state.first_sequence.max(1), state.last_sequence + 1);
        let mut count = self.count(enough).await?;
        while count > 2 * limit && too_few - enough > 1 {
            let middle = enough + (too_few - enough) / 2;
            let there = self.count(middle).await?;
            if there >= limit {
                (enough, count) = (middle, there);
            } else {
                too_few = middle;
            }
        }
        Ok(enough)
    }

    async fn count(&self, start: u64) -> Result<usize, BusError> {
        let consumer = self.from(start).await?;
        self.leave(&consumer).await;
        Ok(consumer.cached_info().num_pending as usize)
    }

    async fn read(&self, start: u64, most: usize) -> Result<Vec<Stored>, BusError> {
        let consumer = self.from(start).await?;
        let count = (consumer.cached_info().num_pending as usize).min(most);
        if count == 0 {
            self.leave(&consumer).await;
            return Ok(Vec::new());
        }
        let batch = consumer.fetch().max_messages(count).messages().await;
        let batch = batch.map_err(|error| self.failed(error.to_string()))?;
        let stored = batch.try_filter_map(|message| async move {
            let deleted = message.headers.as_ref().is_some_and(|headers| headers.get(KEY_OPERATION).is_some());
            let sequence = message.info()?.stream_sequence;
            let subject = message.subject.to_string();
            Ok((!deleted).then(|| Stored { sequence, subject, payload: message.payload.clone() }))
        });
        let listed = stored.try_collect().await.map_err(|error| self.failed(error.to_string()));
        self.leave(&consumer).await;
        listed
    }

    async fn from(&self, start: u64) -> Result<PullConsumer, BusError> {
        let config = pull::Config {
            filter_subject: self.filter.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(10),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let created = async {
            let created = self.bus.js.create_consumer_on_stream(config, self.stream).await;
            created.map_err(|error| self.failed(error.to_string()))
        };
        self.bus.ask(created).await
    }

    /// It would go by itself; a listing must not leave ten seconds of consumers behind it.
    async fn leave(&self, consumer: &PullConsumer) {
        let _ = self.bus.js.delete_consumer_from_stream(&consumer.cached_info().name, self.stream).await;
    }

    fn failed(&self, error: String) -> BusError {
        BusError::request(format!("listing stream {}", self.stream), error)
    }
}
