//! From delivery to held job: is it still wanted, is it answered already, where is its image?

use std::sync::Arc;
use std::time::Instant;

use shoal_nats::cache::SharedCache;
use shoal_nats::delivery::Delivery;
use shoal_nats::uploads::{Stored, Uploads};
use shoal_nats::vouched::Vouched;
use shoal_shared::digest::{CacheKey, DigestKind, ImageKey};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Lane;
use shoal_shared::prediction::{Prediction, Timings};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::sniff::ImageLimits;
use tokio::sync::{Semaphore, mpsc};

use super::lanes::{Laned, Lanes};
use super::{Finished, FinishedSender, Held, Shared, Verdict, micros_since};

/// The first stage.
pub struct Intake {
    /// What every stage shares.
    pub shared: Shared,
    /// The tier of the cache that may hold the answer already.
    pub cache: SharedCache,
    /// Digests that gateways vouch for.
    pub vouched: Vouched,
    /// Where large images are.
    pub uploads: Uploads,
    /// Places for images that are read from there, by lane: what is read waits in memory for a decode thread.
    pub places: [Arc<Semaphore>; 2],
    /// Bounds on images.
    pub limits: ImageLimits,
    /// Jobs that need work go here.
    pub lanes: Arc<Lanes<Held>>,
    /// Jobs that came back go here.
    pub suspects: mpsc::UnboundedSender<Held>,
    /// Jobs that need none go here.
    pub finished: FinishedSender,
}

impl Laned for Held {
    fn lane(&self) -> Lane {
        self.delivery.lane
    }
}

impl Intake {
    /// Takes deliveries until every puller has ended. Then quarantine ends, and closes the lanes.
    ///
    /// Large images are read side by side, so that nobody waits for another's.
    pub async fn run(self, mut deliveries: mpsc::Receiver<Delivery>) {
        let (reading, intake) = (Shutdown::new(), Arc::new(self));
        while let Some(delivery) = deliveries.recv().await {
            if delivery.object.is_some() {
                let intake = intake.clone();
                reading.spawn(Box::pin(async move { intake.take(delivery).await }));
            } else {
                intake.take(delivery).await;
            }
        }
        reading.order();
        reading.finished().await;
    }

    async fn take(&self, delivery: Delivery) {
        let entered = Instant::now();
        self.shared.tally.asked(self.shared.origin.elapsed());
        if delivery.attempt > 1 {
            self.shared.metrics.redelivered.inc();
        }
        let queue = delivery.queue_delay().as_micros().min(u128::from(u32::MAX)) as u32;
        let timings = Timings { queue, ..Timings::default() };
        let image = delivery.payload.clone();
        let mut held =
            Held { delivery, image, key: None, timings, entered, attempts: 0, earlier: None, pass: None, place: None };
        match self.examine(&mut held).await {
            None if held.delivery.attempt > 1 => {
                // It may have to wait for others like it.
                held.place = None;
                // Quarantine outlives intake, so the channel is open.
                drop(self.suspects.send(held));
            }
            None => self.lanes.push(held),
            Some(verdict) => self.finish(held, verdict),
        }
    }

    /// `None` when the job needs work.
    async fn examine(&self, held: &mut Held) -> Option<Verdict> {
        if held.delivery.object.is_some() {
            let places = self.places[held.delivery.lane as usize].clone();
            held.place = places.acquire_owned().await.ok();
        }
        if let Some(verdict) = self.shared.is_moot(held, "a worker was free") {
            return Some(verdict);
        }
        if let Some(object) = held.delivery.object.clone()
            && let Err(verdict) = self.fetch(held, &object).await
        {
            return Some(verdict);
        }
        if self.shared.digest == DigestKind::Sha256
            && let Some(digest) = self.vouched.digest(&held.delivery)
        {
            self.shared.metrics.digests_vouched.inc();
            held.key = Some(self.key(ImageKey::Sha256(digest)));
        }
        // Our gateways have looked before they published; others have not, and a redelivered job
        // may have been answered by a worker that died before its acknowledgement.
        let may_be_answered = held.delivery.attempt > 1 || !held.delivery.wishes.bincode;
        if may_be_answered && !held.delivery.wishes.no_store {
            return self.look_up(held).await.map(Verdict::Cached);
        }
        None
    }

    async fn fetch(&self, held: &mut Held, object: &str) -> Result<(), Verdict> {
        let most = self.limits.max_bytes;
        let failed = |code, message: String| Err(Verdict::Failed(Failure::new(code, message)));
        match self.uploads.get(object, most).await {
            Ok(Stored::Whole(image)) => held.image = image,
            Ok(Stored::Gone) => {
                return failed(FailureCode::NotFound, "the upload that the job refers to is gone".into());
            }
            Ok(Stored::TooLarge(bytes)) => {
                return failed(FailureCode::TooLarge, format!("the upload has {bytes} bytes, the limit is {most}"));
            }
            // The job has no part in that.
            Err(error) => return Err(Verdict::Returned(error.to_string())),
        }
        Ok(())
    }

    async fn look_up(&self, held: &mut Held) -> Option<Prediction> {
        let key = match held.key.take() {
            Some(key) => key,
            None => self.key(ImageKey::of(self.shared.digest, &held.image)),
        };
        let found = self.cache.get(&key).await.ok().flatten();
        held.key = Some(key);
        found
    }

    fn key(&self, image: ImageKey) -> CacheKey {
        CacheKey { model: self.shared.model.digest.clone(), image }
    }

    fn finish(&self, mut held: Held, verdict: Verdict) {
        held.timings.fetch = micros_since(held.entered);
        // The settler ends after this stage, so the channel is open.
        let _ = self.finished.send(vec![Finished { held, verdict, batch: 0 }]);
    }
}
