//! The tier of the prediction cache that all gateways and workers share: a key-value bucket.

use async_nats::jetstream::kv::Store;
use shoal_shared::codec;
use shoal_shared::digest::CacheKey;
use shoal_shared::prediction::Prediction;

use crate::connect::{Bus, BusError};
use crate::topology::CACHE;

/// The shared bucket. Cheap to clone.
#[derive(Clone)]
pub struct SharedCache(Store);

impl SharedCache {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let opened = bus.js.get_key_value(CACHE).await;
        opened.map(Self).map_err(|error| BusError::request(format!("opening bucket {CACHE}"), error))
    }

    /// The prediction under `key`. What another release wrote counts as absent.
    pub async fn get(&self, key: &CacheKey) -> Result<Option<Prediction>, BusError> {
        let bytes = self.0.get(key.to_string()).await.map_err(|error| BusError::request("reading the cache", error))?;
        Ok(bytes.and_then(|bytes| codec::decode(&bytes).ok()))
    }

    /// Stores a prediction.
    pub async fn put(&self, key: &CacheKey, prediction: &Prediction) -> Result<(), BusError> {
        let bytes = codec::encode(prediction).map_err(|error| BusError::request("encoding a prediction", error))?;
        let stored = self.0.put(key.to_string(), bytes.into()).await;
        stored.map(drop).map_err(|error| BusError::request("writing the cache", error))
    }
}
