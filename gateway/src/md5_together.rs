//! The MD5 of images that are with workers at the same time. Only answers name it, so there is time until then; and
//! sixteen images take twice as long as one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use shoal_shared::digest::{ImageKey, ImageMd5};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, yield_now};

/// Shorter images are hashed in less time than it takes to gather them, bytes.
const SHORTEST: usize = 4 << 10;
/// More would keep a runtime thread from its other tasks for too long: they go to another one meanwhile, bytes.
const MOMENT: usize = 512 << 10;
/// With fewer images at workers, one is not made to wait for others.
const COMPANY: usize = 4;

/// Images whose MD5 is wanted by the time their answers are there.
#[derive(Default)]
pub(crate) struct Md5Together {
    waiting: Mutex<Vec<Arc<Image>>>,
    /// Images that wait, or have been hashed and are not answered yet.
    open: AtomicUsize,
}

/// One of them.
pub(crate) struct Image {
    bytes: Bytes,
    md5: OnceLock<ImageMd5>,
}

/// An MD5 that is being waited for; dropped, it is no longer wanted.
pub(crate) enum ComingMd5 {
    Here(ImageMd5),
    Open { image: Arc<Image>, among: Arc<Md5Together> },
}

impl Md5Together {
    /// Of an image with this key. With little company it is computed soon, while a worker has the image.
    pub(crate) fn begin(self: &Arc<Self>, key: &ImageKey, bytes: &Bytes) -> ComingMd5 {
        if matches!(key, ImageKey::Md5(_)) || bytes.len() < SHORTEST {
            return ComingMd5::Here(key.md5(bytes));
        }
        let image = Arc::new(Image { bytes: bytes.clone(), md5: OnceLock::new() });
        let company = self.open.fetch_add(1, Ordering::Relaxed);
        let coming = ComingMd5::Open { image: image.clone(), among: self.clone() };
        if company + 1 < COMPANY {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(self.clone().hash_unless_joined())),
                Err(_) => {
                    image.alone();
                    return coming;
                }
            }
        }
        let mut waiting = self.waiting.lock();
        waiting.push(image);
        if waiting.len() >= ImageMd5::AT_ONCE {
            let full = std::mem::take(&mut *waiting);
            drop(waiting);
            hash(&full);
        }
        coming
    }

    /// The first images of many that arrive together are not hashed alone: the others come before this goes on.
    async fn hash_unless_joined(self: Arc<Self>) {
        yield_now().await;
        let mut waiting = self.waiting.lock();
        if waiting.len() < COMPANY {
            let few = std::mem::take(&mut *waiting);
            drop(waiting);
            hash(&few);
        }
    }
}

impl ComingMd5 {
    /// The MD5. If it is not there yet it is computed now, with those of all who wait.
    pub(crate) fn get(&self) -> ImageMd5 {
        let (image, among) = match self {
            ComingMd5::Here(md5) => return *md5,
            ComingMd5::Open { image, among } => (image, among),
        };
        if image.md5.get().is_none() {
            let waiting = std::mem::take(&mut *among.waiting.lock());
            hash(&waiting);
        }
        // Unless somebody else is at it.
        image.alone()
    }
}

impl Drop for ComingMd5 {
    fn drop(&mut self) {
        let ComingMd5::Open { image, among } = self else { return };
        among.open.fetch_sub(1, Ordering::Relaxed);
        if image.md5.get().is_none() {
            among.waiting.lock().retain(|waiting| !Arc::ptr_eq(waiting, image));
        }
    }
}

impl Image {
    fn alone(&self) -> ImageMd5 {
        *self.md5.get_or_init(|| aside(self.bytes.len(), || ImageMd5::of(&self.bytes)))
    }
}

fn hash(images: &[Arc<Image>]) {
    let bytes: Vec<&[u8]> = images.iter().map(|image| &image.bytes[..]).collect();
    let total = bytes.iter().map(|bytes| bytes.len()).sum();
    for (image, md5) in images.iter().zip(aside(total, || ImageMd5::of_each(&bytes))) {
        let _ = image.md5.set(md5);
    }
}

/// Hashes so many bytes; when that takes more than a moment, others do what else this thread has to do.
fn aside<T>(bytes: usize, hash: impl FnOnce() -> T) -> T {
    let others = || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > MOMENT && others() { block_in_place(hash) } else { hash() }
}

#[cfg(test)]
mod tests {
    use shoal_shared::digest::DigestKind;

    use super::*;

    fn image(number: usize) -> (ImageKey, Bytes) {
        let bytes: Bytes = (0..SHORTEST + number).map(|at| (at * 7 + number) as u8).collect();
        (ImageKey::of(DigestKind::Sha256, &bytes), bytes)
    }

    fn waiting(together: &Md5Together) -> usize {
        together.waiting.lock().len()
    }

    #[test]
    fn sixteen_are_hashed_together_and_each_gets_its_own() {
        let together = Arc::new(Md5Together::default());
        let images: Vec<_> = (0..40).map(image).collect();
        let coming: Vec<_> = images.iter().map(|(key, bytes)| together.begin(key, bytes)).collect();
        // Three alone, twice sixteen, and five that wait.
        assert_eq!(waiting(&together), 5);
        for ((_, bytes), coming) in images.iter().zip(&coming) {
            assert_eq!(coming.get(), ImageMd5::of(bytes));
        }
        assert_eq!(waiting(&together), 0);
        drop(coming);
        assert_eq!(together.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn whoever_leaves_leaves_nothing_behind() {
        let together = Arc::new(Md5Together::default());
        let mut coming: Vec<_> = (0..10).map(image).map(|(key, bytes)| together.begin(&key, &bytes)).collect();
        assert_eq!(waiting(&together), 7);
        coming.truncate(8);
        assert_eq!(waiting(&together), 5);
        assert_eq!(coming[7].get(), ImageMd5::of(&image(7).1));
        assert_eq!(waiting(&together), 0);
    }

    #[tokio::test]
    async fn a_few_are_hashed_when_nobody_joins_them() {
        let together = Arc::new(Md5Together::default());
        let begin = |number| {
            let (key, bytes) = image(number);
            together.begin(&key, &bytes)
        };
        let few = [begin(1), begin(2)];
        assert_eq!(waiting(&together), 2);
        while waiting(&together) > 0 {
            yield_now().await;
        }
        let more: Vec<_> = (3..8).map(begin).collect();
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(waiting(&together), more.len());
        for (number, coming) in few.iter().chain(&more).enumerate() {
            assert_eq!(coming.get(), ImageMd5::of(&image(number + 1).1));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn megabytes_are_hashed_aside() {
        let together = Arc::new(Md5Together::default());
        let images: Vec<Bytes> = (1..=6).map(|number| vec![number as u8; (number * MOMENT) / 2].into()).collect();
        let key = |bytes: &Bytes| ImageKey::of(DigestKind::Sha256, bytes);
        let coming: Vec<_> = images.iter().map(|bytes| together.begin(&key(bytes), bytes)).collect();
        for (bytes, coming) in images.iter().zip(&coming) {
            assert_eq!(coming.get(), ImageMd5::of(bytes));
        }
    }
}
