//! Images kept for display, when that is wanted: each under its owner, for a while; those that
//! feedback was given on for longer.

use std::sync::Arc;

use bytes::Bytes;
use shoal_nats::uploads::Uploads;
use shoal_nats::{Bus, BusError};
use shoal_shared::digest::ImageSha256;
use shoal_shared::failure::Failure;
use shoal_shared::names::Owner;
use tokio::sync::Semaphore;

use crate::unavailable::unavailable;

/// Images being stored at once. Beyond, one is not kept: keeping them must not slow predictions down.
const MAX_STORING: usize = 8;
/// Longest image that is read back.
const MAX_BYTES: usize = 64 << 20;

/// Types of images by the extension that predictions name them with.
const KINDS: [(&str, &str); 7] = [
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("bmp", "image/bmp"),
    ("tiff", "image/tiff"),
];

/// Keeps images. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    /// `None`: nothing is kept.
    buckets: Option<(Uploads, Uploads)>,
    places: Arc<Semaphore>,
}

impl Keeper {
    /// Opens the provisioned buckets when images are to be kept.
    pub async fn open(bus: &Bus, wanted: bool) -> Result<Self, BusError> {
        let buckets = if wanted { Some((Uploads::kept(bus).await?, Uploads::judged(bus).await?)) } else { None };
        Ok(Self { buckets, places: Arc::new(Semaphore::new(MAX_STORING)) })
    }

    /// Keeps an image in the background.
    pub fn keep(&self, owner: &Owner, name: &str, image: &Bytes) {
        let (Some((kept, _)), Some(_)) = (&self.buckets, kind(name)) else { return };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return tracing::debug!(name, "not kept: too many at the same time");
        };
        let (kept, name, image) = (kept.clone(), object(owner, name), image.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = kept.replace(&name, &image, &ImageSha256::of(&image)).await {
                tracing::warn!(%error, "an image was not kept");
            }
        });
    }

    /// Feedback was given on an image: it is kept for longer.
    pub async fn judged(&self, owner: &Owner, name: &str) {
        let (Some((kept, judged)), Some(_)) = (&self.buckets, kind(name)) else { return };
        let name = object(owner, name);
        let copied = async {
            if let Some(image) = kept.get(&name, MAX_BYTES).await?.image() {
                judged.replace(&name, &image, &ImageSha256::of(&image)).await?;
            }
            Ok::<_, BusError>(())
        };
        if let Err(error) = copied.await {
            tracing::warn!(%error, "an image with feedback was not kept");
        }
    }

    /// An image of an owner and its type, while it is kept.
    pub async fn find(&self, owner: &Owner, name: &str) -> Result<Option<(Bytes, &'static str)>, Failure> {
        let (Some((kept, judged)), Some(kind)) = (&self.buckets, kind(name)) else { return Ok(None) };
        let object = object(owner, name);
        for bucket in [kept, judged] {
            if let Some(image) = bucket.get(&object, MAX_BYTES).await.map_err(unavailable)?.image() {
                return Ok(Some((image, kind)));
            }
        }
        Ok(None)
    }
}

fn object(owner: &Owner, name: &str) -> String {
    format!("{owner}/{name}")
}

/// The type of an image by its name: 32 hexadecimal digits and a known extension.
fn kind(name: &str) -> Option<&'static str> {
    let (digest, extension) = name.split_once('.')?;
    let is_digest = digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let known = KINDS.iter().find(|(known, _)| *known == extension);
    known.filter(|_| is_digest).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_predictions_give_lead_anywhere() {
        let digest = "0a7c757a80f2c5b13fa7a2a47a683593";
        assert_eq!(kind(&format!("{digest}.jpeg")), Some("image/jpeg"));
        for name in [digest.to_owned(), format!("{digest}.html"), format!("../{digest}.png"), "a.png".into()] {
            assert_eq!(kind(&name), None, "{name}");
        }
    }
}
