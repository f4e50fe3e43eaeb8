//! Which gateway computes what. A claim is a hint: losing one costs a second computation, never an
//! answer. Asked only when there are several gateways.

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use shoal_shared::digest::CacheKey;
use shoal_shared::names::NodeId;

use crate::connect::{Bus, BusError};
use crate::topology::CLAIMS;

/// The bucket of claims. Cheap to clone.
#[derive(Clone)]
pub struct Claims(Store);

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
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let opened = bus.js.get_key_value(CLAIMS).await;
        opened.map(Self).map_err(|error| BusError::request(format!("opening bucket {CLAIMS}"), error))
    }

    /// Claims `key`, or tells who has it.
    pub async fn claim(&self, key: &CacheKey, me: &NodeId) -> Result<Claim, BusError> {
        let failed = |error: String| BusError::request("claiming an image", error);
        let key = key.to_string();
        match self.0.create(&key, me.as_str().to_owned().into()).await {
            Ok(_) => return Ok(Claim::Mine),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        let entry = self.0.entry(key).await.map_err(|error| failed(error.to_string()))?;
        let theirs = entry.and_then(|entry| {
            let gateway = std::str::from_utf8(&entry.value).ok()?.parse().ok()?;
            Some(Claim::Theirs { gateway, revision: entry.revision })
        });
        Ok(theirs.unwrap_or(Claim::Mine))
    }

    /// Takes over a claim whose holder does not compute any more; false when somebody was faster.
    pub async fn take_over(&self, key: &CacheKey, me: &NodeId, revision: u64) -> bool {
        self.0.update(key.to_string(), me.as_str().to_owned().into(), revision).await.is_ok()
    }
}
