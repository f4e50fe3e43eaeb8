//! Images too large for a message: stored as objects, referred to by the job, removed with it.

use async_nats::jetstream::object_store::{InfoErrorKind, ObjectMetadata, ObjectStore};
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;

use crate::connect::{Bus, BusError};
use crate::topology::{JUDGED, KEPT, UPLOADS};

/// Bytes of a message that is a part of an image: below what any server takes, and few for each image.
const CHUNK: usize = 512 << 10;

/// The bucket of large uploads. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    objects: ObjectStore,
    /// Where its messages are.
    stream: Stream<()>,
}

/// What became of a large upload.
#[derive(Debug)]
pub enum Stored {
    /// It is there.
    Whole(Bytes),
    /// It has expired or was removed.
    Gone,
    /// It has so many bytes, more than was asked for.
    TooLarge(usize),
}

impl Stored {
    /// The image, if it can be had.
    pub fn image(self) -> Option<Bytes> {
        match self {
            Self::Whole(image) => Some(image),
            Self::Gone | Self::TooLarge(_) => None,
        }
    }
}

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
        let what = format!("object store {bucket}");
        let objects = bus.lookup(&what, || bus.js.get_object_store(bucket)).await?;
        let stream = bus.js.get_stream_no_info(format!("OBJ_{bucket}")).await;
        Ok(Self { objects, stream: stream.map_err(|error| BusError::request(&what, error))? })
    }

    /// Stores an image under a fresh name.
    pub async fn put(&self, name: &str, image: &Bytes) -> Result<(), BusError> {
        let object = ObjectMetadata { name: name.to_owned(), chunk_size: Some(CHUNK), ..ObjectMetadata::default() };
        let stored = self.objects.put(object, &mut image.as_ref()).await;
        stored.map(drop).map_err(|error| BusError::request("storing a large upload", error))
    }

    /// Reads an image of at most `limit` bytes.
    ///
    /// Its parts are asked for one by one. The client's own way makes a consumer for each object, which the server keeps for
    /// half a minute: a thousand images in that time, and it makes no more.
    pub async fn get(&self, name: &str, limit: usize) -> Result<Stored, BusError> {
        let failed = |why: String| BusError::request("reading a large upload", why);
        let object = match self.objects.info(name).await {
            Ok(object) if object.deleted => return Ok(Stored::Gone),
            Ok(object) => object,
            Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(Stored::Gone),
            Err(error) => return Err(failed(error.to_string())),
        };
        if object.size > limit {
            return Ok(Stored::TooLarge(object.size));
        }
        let subject = format!("$O.{}.C.{}", object.bucket, object.nuid);
        let (mut image, mut next) = (Vec::new(), None);
        loop {
            let part = self.stream.direct_get_next_for_subject(subject.as_str(), next).await;
            // Removed meanwhile, perhaps; whoever asks again will know.
            let part = part.map_err(|error| failed(error.to_string()))?;
            let missing = object.size - image.len();
            if part.payload.len() == object.size {
                return Ok(Stored::Whole(part.payload));
            }
            if part.payload.is_empty() || part.payload.len() > missing {
                return Err(failed(format!("a part of {} bytes where {missing} are missing", part.payload.len())));
            }
            image.reserve_exact(missing);
            image.extend_from_slice(&part.payload);
            if image.len() == object.size {
                return Ok(Stored::Whole(image.into()));
            }
            next = Some(part.sequence + 1);
        }
    }

    /// Removes an image; that it is gone already is fine.
    pub async fn remove(&self, name: &str) {
        if let Err(error) = self.objects.delete(name).await {
            tracing::debug!(object = name, %error, "large upload was gone before it could be removed");
        }
    }
}
