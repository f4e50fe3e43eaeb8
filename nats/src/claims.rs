//! Which gateway computes what. A claim is a hint: losing one costs a second computation, never an
//! answer. Asked only when there are several gateways.

use std::sync::Arc;

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use shoal_shared::digest::CacheKey;
use shoal_shared::names::NodeId;
use tokio::sync::OnceCell;

use crate::connect::{Bus, BusError};
use crate::topology::CLAIMS;

/// The bucket of claims, opened when it is first needed: a gateway starts without it. Cheap to clone.
#[derive(Clone)]
pub struct Claims {
    bus: Bus,
    store: Arc<OnceCell<Store>>,
}

/// Who computes an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Whoever asked.
    Mine,
    /// Another gateway, or one that did so before.
    Theirs {
        /// Which.
        gateway: NodeId,
        /// For [`Claims::take_over`].
        revision: u64,
    },
}

impl Claims {
    /// Opens nothing yet.
    pub fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone(), store: Arc::default() }
    }

    async fn store(&self) -> Result<&Store, BusError> {
        let opened = self.store.get_or_try_init(|| self.bus.js.get_key_value(CLAIMS)).await;
        opened.map_err(|error| BusError::request(format!("opening bucket {CLAIMS}"), error))
    }

    /// Claims `key`, or tells who has it.
    pub async fn claim(&self, key: &CacheKey, me: &NodeId) -> Result<Claim, BusError> {
        let failed = |error: String| BusError::request("claiming an image", error);
        let (store, key) = (self.store().await?, key.to_string());
        match store.create(&key, me.as_str().to_owned().into()).await {
            Ok(_) => return Ok(Claim::Mine),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        let entry = store.entry(key).await.map_err(|error| failed(error.to_string()))?;
        let theirs = entry.and_then(|entry| {
            let gateway = std::str::from_utf8(&entry.value).ok()?.parse().ok()?;
            Some(Claim::Theirs { gateway, revision: entry.revision })
        });
        Ok(theirs.unwrap_or(Claim::Mine))
    }

    /// Takes over a claim whose holder does not compute any more; false when somebody was faster.
    pub async fn take_over(&self, key: &CacheKey, me: &NodeId, revision: u64) -> bool {
        let Ok(store) = self.store().await else { return false };
        store.update(key.to_string(), me.as_str().to_owned().into(), revision).await.is_ok()
    }
}
