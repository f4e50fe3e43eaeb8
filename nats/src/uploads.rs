//! Images too large for a message: stored as objects, referred to by the job, removed with it.

use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::connect::{Bus, BusError};
use crate::topology::{JUDGED, KEPT, UPLOADS};

/// The bucket of large uploads. Cheap to clone.
#[derive(Clone)]
pub struct Uploads(ObjectStore);

impl Uploads {
    /// Opens the provisioned bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        Self::named(bus, UPLOADS).await
    }

    /// Opens the bucket of images kept for display.
    pub async fn kept(bus: &Bus) -> Result<Self, BusError> {
        Self::named(bus, KEPT).await
    }

    /// Opens the bucket of images that feedback was given on.
    pub async fn judged(bus: &Bus) -> Result<Self, BusError> {
        Self::named(bus, JUDGED).await
    }

    async fn named(bus: &Bus, bucket: &str) -> Result<Self, BusError> {
        bus.lookup(&format!("object store {bucket}"), || bus.js.get_object_store(bucket)).await.map(Self)
    }

    /// Stores an image under a fresh name.
    pub async fn put(&self, name: &str, image: &Bytes) -> Result<(), BusError> {
        let stored = self.0.put(name, &mut image.as_ref()).await;
        stored.map(drop).map_err(|error| BusError::request("storing a large upload", error))
    }

    /// Reads an image of at most `limit` bytes. `None` when it is gone: expired or removed.
    pub async fn get(&self, name: &str, limit: usize) -> Result<Option<Bytes>, BusError> {
        let Ok(object) = self.0.get(name).await else { return Ok(None) };
        let size = object.info().size;
        if size > limit {
            return Err(BusError::request("reading a large upload", format!("{size} bytes, the limit is {limit}")));
        }
        let mut image = Vec::with_capacity(size);
        object
            .take(limit as u64)
            .read_to_end(&mut image)
            .await
            .map_err(|error| BusError::request("reading a large upload", error))?;
        Ok(Some(image.into()))
    }

    /// Removes an image; that it is gone already is fine.
    pub async fn remove(&self, name: &str) {
        if let Err(error) = self.0.delete(name).await {
            tracing::debug!(object = name, %error, "large upload was gone before it could be removed");
        }
    }
}
