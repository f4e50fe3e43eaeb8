//! Images too large for a message beside others: stored as objects, referred to by the job, removed with it.
//!
//! The layout is the object store's, so `nats object` reads and writes them too. The client library's own way of
//! writing waits for the broker after every part, its reading makes a consumer for each object (of which the server
//! makes a thousand in half a minute, and then no more), and its removing leaves a note of every object behind.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{InfoErrorKind, ObjectInfo, ObjectOptions, ObjectStore};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures_util::future::join_all;
use shoal_shared::digest::ImageSha256;
use tokio::sync::{Semaphore, oneshot};

use crate::connect::{Bus, BusError};
use crate::publish::{Refused, refused};
use crate::topology::{JUDGED, KEPT, UPLOADS};

/// Bytes that are on their way into a bucket at the same time, or one image: the server holds each several times over
/// until it is in a file.
const AT_ONCE: usize = 32 << 20;
/// Bytes of a name. A longer one would make a line of the protocol so long that the server closes the connection.
const LONGEST_NAME: usize = 1024;
/// Left free in a message that is a part of an image, for what the broker adds when it hands it out.
const ROOM: usize = 64 << 10;

/// The bucket of large uploads. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    bus: Bus,
    bucket: &'static str,
    objects: ObjectStore,
    /// Where its messages are.
    stream: Stream<()>,
    /// For images on their way into it, a permit for each kilobyte.
    room: Arc<Semaphore>,
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

    async fn named(bus: &Bus, bucket: &'static str) -> Result<Self, BusError> {
        let what = format!("object store {bucket}");
        let objects = bus.lookup(&what, || bus.js.get_object_store(bucket)).await?;
        let stream = bus.js.get_stream_no_info(format!("OBJ_{bucket}")).await;
        let stream = stream.map_err(|error| BusError::request(&what, error))?;
        Ok(Self { bus: bus.clone(), bucket, objects, stream, room: Arc::new(Semaphore::new(AT_ONCE >> 10)) })
    }

    /// Stores an image under a fresh name. Nothing stays of one that could not be stored whole, or that nobody waits for
    /// any more.
    pub async fn put(&self, name: &str, image: &Bytes, digest: &ImageSha256) -> Result<(), Refused> {
        let (tell, told) = oneshot::channel();
        let (uploads, name, image, digest) = (self.clone(), name.to_owned(), image.clone(), *digest);
        // What has been sent cannot be called back, so that is not left halfway.
        tokio::spawn(async move {
            let nuid = nuid::next().to_string();
            let stored = uploads.send(&name, &nuid, &image, &digest).await;
            let has_failed = stored.is_err();
            if tell.send(stored).is_err() || has_failed {
                uploads.remove_parts(&name, &nuid).await;
            }
        });
        told.await.unwrap_or_else(|_| Err(Refused::Unavailable("the process is ending".into())))
    }

    /// Sends an image's parts, as few as the server's longest message allows, and its entry. All at once; the broker
    /// keeps their order.
    async fn send(&self, name: &str, nuid: &str, image: &Bytes, digest: &ImageSha256) -> Result<(), Refused> {
        let part_bytes = self.bus.max_payload().saturating_sub(ROOM).max(ROOM);
        let entry = ObjectInfo {
            name: name.to_owned(),
            bucket: self.bucket.to_owned(),
            nuid: nuid.to_owned(),
            size: image.len(),
            chunks: image.len().div_ceil(part_bytes),
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(digest.0))),
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(part_bytes) }),
            description: None,
            metadata: Default::default(),
            headers: None,
            modified: None,
            deleted: false,
        };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        let encoded = serde_json::to_vec(&entry).map_err(|error| Refused::Unavailable(error.to_string()))?;
        let last = PublishMessage::build().headers(headers).payload(encoded.into());
        let _room = self.room.acquire_many(image.len().div_ceil(1 << 10).min(AT_ONCE >> 10) as u32).await;
        let mut acks = Vec::with_capacity(entry.chunks + 1);
        for from in (0..image.len()).step_by(part_bytes) {
            let part = image.slice(from..image.len().min(from + part_bytes));
            let part = PublishMessage::build().payload(part);
            acks.push(self.bus.js.send_publish(self.parts(nuid), part).await.map_err(refused)?);
        }
        acks.push(self.bus.js.send_publish(self.entry(name), last).await.map_err(refused)?);
        // Of all of them: what is removed after a failure must have arrived before.
        let acks = join_all(acks.into_iter().map(IntoFuture::into_future)).await;
        acks.into_iter().try_for_each(|ack| ack.map(drop).map_err(refused))
    }

    /// Stores an image in the place of an older one of that name, if there is one.
    pub async fn replace(&self, name: &str, image: &Bytes, digest: &ImageSha256) -> Result<(), BusError> {
        let before = self.objects.info(name).await.ok().filter(|before| !before.deleted);
        let stored = self.put(name, image, digest).await;
        stored.map_err(|refused| BusError::request("storing an image", refused))?;
        if let Some(before) = before {
            self.purge(self.parts(&before.nuid)).await;
        }
        Ok(())
    }

    /// Reads an image of at most `limit` bytes.
    pub async fn get(&self, name: &str, limit: usize) -> Result<Stored, BusError> {
        let failed = |why: String| BusError::request("reading a large upload", why);
        let Some(object) = self.find(name).await.map_err(failed)? else { return Ok(Stored::Gone) };
        if object.size > limit {
            return Ok(Stored::TooLarge(object.size));
        }
        let parts = self.parts(&object.nuid);
        let (mut image, mut next) = (Vec::new(), None);
        loop {
            let part = self.stream.direct_get_next_for_subject(parts.as_str(), next).await;
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

    /// An object's entry. Any server of a cluster may be asked, and one that lags behind does not know it yet: that
    /// there is none counts only when the stream's leader says so.
    async fn find(&self, name: &str) -> Result<Option<ObjectInfo>, String> {
        if !(1..=LONGEST_NAME).contains(&name.len()) {
            return Ok(None);
        }
        let found = match self.objects.info(name).await {
            Ok(object) => object,
            Err(error) if error.kind() != InfoErrorKind::NotFound => return Err(error.to_string()),
            Err(_) => match self.stream.get_last_raw_message_by_subject(&self.entry(name)).await {
                Ok(entry) => serde_json::from_slice(&entry.payload).map_err(|error| error.to_string())?,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                Err(error) => return Err(error.to_string()),
            },
        };
        Ok((!found.deleted).then_some(found))
    }

    /// Removes an image; that it is gone already is fine.
    pub async fn remove(&self, name: &str) {
        match self.find(name).await {
            Ok(Some(object)) => self.remove_parts(name, &object.nuid).await,
            Ok(None) => tracing::debug!(object = name, "large upload was gone before it could be removed"),
            Err(error) => tracing::debug!(object = name, error, "large upload not removed; it goes by age"),
        }
    }

    async fn remove_parts(&self, name: &str, nuid: &str) {
        tokio::join!(self.purge(self.entry(name)), self.purge(self.parts(nuid)));
    }

    async fn purge(&self, subject: String) {
        if let Err(error) = self.stream.purge().filter(subject.as_str()).await {
            tracing::debug!(subject, %error, "not purged; it goes by age");
        }
    }

    fn parts(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.bucket)
    }

    fn entry(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.bucket, URL_SAFE.encode(name))
    }
}
