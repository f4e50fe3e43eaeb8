//! The tier of the prediction cache that all gateways and workers share: a key-value bucket.

mod filter;
mod index;
mod written;

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use shoal_shared::codec;
use shoal_shared::digest::{CacheKey, ModelDigest};
use shoal_shared::names::NodeId;
use shoal_shared::prediction::Prediction;
use shoal_shared::process::shutdown::Shutdown;

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::CACHE;
use index::Index;
use written::Written;

/// The shared bucket. Cheap to clone.
#[derive(Clone)]
pub struct SharedCache {
    store: Store,
    js: Context,
    index: Index,
    written: Written,
}

/// A prediction on its way into the bucket.
#[must_use = "whether it was stored is known only to whoever asks"]
pub struct Write(PublishAckFuture);

impl Write {
    /// Waits for the broker's word that it is stored.
    pub async fn stored(self) -> Result<(), BusError> {
        self.0.await.map(drop).map_err(|error| BusError::request("writing the cache", error))
    }
}

impl SharedCache {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let store = bus.lookup(&format!("bucket {CACHE}"), || bus.js.get_key_value(CACHE)).await?;
        let index = Index::new(bus.topology.max_cache_bytes);
        Ok(Self { store, js: bus.js.clone(), index, written: Written::new(bus.client.clone()) })
    }

    /// Keeps up with what is in the bucket, so that [`SharedCache::may_hold`] knows, until shutdown.
    pub async fn follow(self, bus: Bus, shutdown: Shutdown) {
        self.index.follow(&bus, &self.store, &shutdown).await;
    }

    /// Whether it is worth asking for a key. `false` is as good as [`SharedCache::get`] finding nothing, for
    /// the price of a look into memory; without [`SharedCache::follow`] it is never said.
    pub fn may_hold(&self, key: &CacheKey) -> bool {
        self.index.may_hold(key)
    }

    /// The prediction under `key`. What another release wrote counts as absent.
    pub async fn get(&self, key: &CacheKey) -> Result<Option<Prediction>, BusError> {
        let found = self.store.get(key.to_string()).await;
        let bytes = found.map_err(|error| BusError::request("reading the cache", error))?;
        Ok(bytes.and_then(|bytes| codec::decode(&bytes).ok()))
    }

    /// Sends a prediction to be stored. What the same connection sends next reaches the broker behind it.
    pub async fn put(&self, key: &CacheKey, prediction: &Prediction) -> Result<Write, BusError> {
        let bytes = codec::encode(prediction).map_err(|error| BusError::request("encoding a prediction", error))?;
        let message = PublishMessage::build().payload(bytes.into());
        let sent = self.js.send_publish(format!("$KV.{CACHE}.{key}"), message).await;
        let sent = sent.map_err(|error| BusError::request("writing the cache", error))?;
        // Behind the write: whoever hears of it finds it.
        self.written.tell(key.fingerprint()).await;
        Ok(Write(sent))
    }
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

/// What the shared bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketStats {
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
        let stream =
            self.js.get_stream_no_info(format!("KV_{CACHE}")).await.map_err(|error| failed(error.to_string()))?;
        let purged = match model {
            Some(digest) => stream.purge().filter(format!("$KV.{CACHE}.{digest}.>")).await,
            None => stream.purge().await,
        };
        let purged = purged.map_err(|error| failed(error.to_string()))?.purged;
        // After the bucket: a gateway that has forgotten must not find it there again.
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

    /// What the shared bucket holds.
    pub async fn cache_stats(&self) -> Result<BucketStats, BusError> {
        let failed = |error: String| BusError::request("reading the cache's state", error);
        let stream = self.js.get_stream(format!("KV_{CACHE}")).await.map_err(|error| failed(error.to_string()))?;
        let state = &stream.cached_info().state;
        Ok(BucketStats { entries: state.messages, bytes: state.bytes })
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
