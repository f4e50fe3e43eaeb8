//! The tier of the prediction cache that all gateways and workers share: a stream, and where everything in it is.

mod index;
mod places;
mod written;

use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use shoal_shared::digest::{CacheKey, ModelDigest};
use shoal_shared::names::NodeId;
use shoal_shared::prediction::Prediction;
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::{codec, headers};

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::CACHE;
use index::Index;
use written::Written;

/// Predictions that a gateway keeps in mind where to find, eight bytes each, if there are so many.
pub const ALL: usize = 4 << 20;
/// Those that a worker does. Gateways look before they publish: workers only for jobs that others have published, or that
/// come once more.
pub const LATEST: usize = 1 << 17;

/// The shared tier. Cheap to clone.
#[derive(Clone)]
pub struct SharedCache {
    bus: Bus,
    stream: Stream<()>,
    index: Index,
    written: Written,
}

/// A prediction on its way into the stream.
#[must_use = "nobody finds what is not waited for"]
pub struct Write {
    stored: PublishAckFuture,
    fingerprint: u64,
    written: Written,
}

impl Write {
    /// Waits for the broker's word that it is stored, and tells everybody where.
    pub async fn stored(self) -> Result<(), BusError> {
        let stored = self.stored.await.map_err(|error| BusError::request("writing the cache", error))?;
        self.written.tell((self.fingerprint, stored.sequence)).await;
        Ok(())
    }
}

impl SharedCache {
    /// Opens the provisioned stream; [`ALL`] or [`LATEST`] of the predictions in it will be found.
    pub async fn open(bus: &Bus, most: usize) -> Result<Self, BusError> {
        let what = format!("stream {CACHE}");
        bus.lookup(&what, || bus.js.get_stream(CACHE)).await?;
        let stream = bus.js.get_stream_no_info(CACHE).await.map_err(|error| BusError::request(&what, error))?;
        let index = Index::new(bus.topology.max_cache_bytes, most);
        Ok(Self { bus: bus.clone(), stream, index, written: Written::new(bus.client.clone()) })
    }

    /// Keeps up with what is in the stream until shutdown. Without it nothing is ever found.
    pub async fn follow(self, shutdown: Shutdown) {
        self.index.follow(&self.bus, &shutdown).await;
    }

    /// Waits until everything is known that was stored before the present connection was made.
    pub async fn listed(&self) {
        self.index.listed(&self.bus).await;
    }

    /// The prediction under `key`, as far as it is known here. What another release wrote counts as absent.
    pub async fn get(&self, key: &CacheKey) -> Result<Option<Prediction>, BusError> {
        let Some(sequence) = self.index.find(key) else { return Ok(None) };
        match self.stream.direct_get(sequence).await {
            Ok(stored) if is_of(&stored, key) => return Ok(codec::decode(&stored.payload).ok()),
            // Its fingerprint is another one's, too; or the stream is another one.
            Ok(_) => {}
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
            Err(error) => return Err(BusError::request("reading the cache", error)),
        }
        self.index.forget(key);
        Ok(None)
    }

    /// Sends a prediction to be stored. What the same connection sends next reaches the broker behind it.
    pub async fn put(&self, key: &CacheKey, prediction: &Prediction) -> Result<Write, BusError> {
        let bytes = codec::encode(prediction).map_err(|error| BusError::request("encoding a prediction", error))?;
        let message = PublishMessage::build().payload(bytes.into()).header(headers::IMAGE, key.image.to_string());
        let sent = self.bus.js.send_publish(subjects::cached(&key.model), message).await;
        let stored = sent.map_err(|error| BusError::request("writing the cache", error))?;
        Ok(Write { stored, fingerprint: key.fingerprint(), written: self.written.clone() })
    }
}

fn is_of(stored: &StreamMessage, key: &CacheKey) -> bool {
    let image = stored.headers.get(headers::IMAGE).map(|image| image.as_str());
    subjects::parse_cached(&stored.subject) == Some(key.model.as_str()) && image == Some(&*key.image.to_string())
}

/// What one gateway's memory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// The gateway.
    pub gateway: NodeId,
    /// Predictions.
    pub entries: u64,
    /// Bytes, by weight.
    pub bytes: u64,
    /// Answers by source: hit, shared, coalesced, miss.
    pub answered: [u64; 4],
}

/// What the shared tier holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedStats {
    /// Predictions.
    pub entries: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// How long gateways have for their answer.
const GATHER: Duration = Duration::from_millis(400);

impl Bus {
    /// Forgets cached predictions everywhere: of one model digest, or all.
    pub async fn purge_cache(&self, model: Option<&ModelDigest>) -> Result<u64, BusError> {
        let failed = |error: String| BusError::request("purging the cache", error);
        let stream = self.js.get_stream_no_info(CACHE).await.map_err(|error| failed(error.to_string()))?;
        let purged = match model {
            Some(digest) => stream.purge().filter(subjects::cached(digest)).await,
            None => stream.purge().await,
        };
        let purged = purged.map_err(|error| failed(error.to_string()))?.purged;
        // After the stream: a gateway that has forgotten must not find it there again.
        let payload = model.map(|digest| digest.as_str().as_bytes().to_vec()).unwrap_or_default();
        self.send(subjects::FORGET.into(), payload).await?;
        self.flush().await;
        Ok(purged)
    }

    /// Calls `forget` for every purge until shutdown; `None` means everything.
    pub async fn on_forget(&self, forget: impl Fn(Option<&str>), shutdown: Shutdown) {
        let Ok(mut messages) = self.client.subscribe(subjects::FORGET).await else { return };
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = shutdown.ordered() => return,
            };
            let Some(message) = message else { return };
            forget(std::str::from_utf8(&message.payload).ok().filter(|digest| !digest.is_empty()));
        }
    }

    /// What the shared tier holds.
    pub async fn cache_stats(&self) -> Result<SharedStats, BusError> {
        let failed = |error: String| BusError::request("reading the cache's state", error);
        let stream = self.js.get_stream(CACHE).await.map_err(|error| failed(error.to_string()))?;
        let state = &stream.cached_info().state;
        Ok(SharedStats { entries: state.messages, bytes: state.bytes })
    }

    /// What every gateway's memory holds, by those that answer in time.
    pub async fn memory_stats(&self) -> Result<Vec<MemoryStats>, BusError> {
        let failed = |error: String| BusError::request("asking the gateways", error);
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| failed(error.to_string()))?;
        let asked = self.client.publish_with_reply(subjects::CACHE_STATS, inbox, Vec::new().into()).await;
        asked.map_err(|error| failed(error.to_string()))?;
        let mut stats: Vec<MemoryStats> = Vec::new();
        let gather = async {
            while let Some(answer) = answers.next().await {
                if answer.status.is_none() {
                    stats.extend(serde_json::from_slice::<MemoryStats>(&answer.payload));
                }
            }
        };
        let _ = tokio::time::timeout(GATHER, gather).await;
        stats.sort_by(|a, b| a.gateway.cmp(&b.gateway));
        Ok(stats)
    }

    /// Answers [`Bus::memory_stats`] until shutdown.
    pub async fn on_memory_stats(&self, stats: impl Fn() -> MemoryStats, shutdown: Shutdown) {
        let Ok(mut questions) = self.client.subscribe(subjects::CACHE_STATS).await else { return };
        loop {
            let question = tokio::select! {
                question = questions.next() => question,
                () = shutdown.ordered() => return,
            };
            let Some(reply) = question.and_then(|question| question.reply) else { return };
            let _ = self.send(reply.to_string(), serde_json::to_vec(&stats()).unwrap_or_default()).await;
        }
    }
}
