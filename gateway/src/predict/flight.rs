//! One flight: the shared cache, then the queue, then the answer on the inbox.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shoal_nats::peers::FlightNews;
use shoal_nats::publish::{Image, NewJob, Refused};
use shoal_shared::digest::{CacheKey, ImageKey, ImageMd5};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::headers::{ACCEPT_BINCODE, Deadline};
use shoal_shared::names::{JobId, ModelName};
use shoal_shared::prediction::{Outcome, Prediction, Served};

use super::{Ask, Inner, Source};
use crate::admission::{Knock, Refusal, first_guess};
use crate::cache::Entry;
use crate::md5_together::ComingMd5;

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Landed {
    /// With a prediction.
    Answered { entry: Arc<Entry>, source: Source, served: Option<Served>, published: Option<Published> },
    /// Without.
    Failed(Refusal),
}

/// When a job was published.
#[derive(Clone, Copy)]
pub(crate) struct Published {
    /// When that began: what was before is looking up and admission.
    pub(crate) begun: Instant,
    /// Until the broker had acknowledged it.
    pub(crate) took: Duration,
}

/// What a flight is to find out.
#[derive(Clone)]
pub(crate) struct Mission {
    pub(crate) ask: Ask,
    pub(crate) model: ModelName,
    pub(crate) key: CacheKey,
    pub(crate) by_cache: bool,
    pub(crate) asked: Instant,
    pub(crate) deadline: Instant,
    /// An attempt that fails is not repeated: another version is at hand.
    pub(crate) once: bool,
}

impl Mission {
    /// Runs to the end; dropped midway, it removes its job.
    pub(crate) async fn run(self, inner: Arc<Inner>) -> Landed {
        match self.fly(&inner).await {
            Ok(landed) => landed,
            Err(refusal) => {
                inner.memory.refuse(self.key, &refusal.failure);
                Landed::Failed(refusal)
            }
        }
    }

    async fn fly(&self, inner: &Arc<Inner>) -> Result<Landed, Refusal> {
        // Once more, now that nobody else can start a flight for it: the one before may have landed since the first look.
        if self.by_cache
            && let Some(known) = inner.memory.known(&self.key)
        {
            return Ok(Landed::Answered { entry: known?, source: Source::Hit, served: None, published: None });
        }
        if self.by_cache
            && let Some(prediction) = self.look_up(inner).await
        {
            let entry = self.keep(inner, prediction, self.md5());
            return Ok(Landed::Answered { entry, source: Source::Shared, served: None, published: None });
        }
        if self.by_cache
            && let Some(prediction) = self.computed_by_peer(inner).await?
        {
            let entry = self.keep(inner, prediction, self.md5());
            return Ok(Landed::Answered { entry, source: Source::Coalesced, served: None, published: None });
        }
        let (outcome, published, md5) = self.ask_workers(inner).await?;
        let prediction = outcome.result?;
        let entry = self.keep(inner, prediction, md5.get());
        Ok(Landed::Answered { entry, source: Source::Miss, served: Some(outcome.served), published: Some(published) })
    }

    /// A slow broker must not make a request slower than computing.
    async fn look_up(&self, inner: &Inner) -> Option<Prediction> {
        if !inner.bus.is_up() {
            return None;
        }
        let found = inner.shared.get(&self.key);
        tokio::time::timeout(inner.config.cache.shared_budget, found).await.ok()?.ok()?
    }

    /// What was stored while the connection was down is known in a moment.
    async fn look_up_after_reconnect(&self, inner: &Inner) -> Option<Prediction> {
        inner.shared.listed().await;
        self.look_up(inner).await
    }

    /// With several gateways: waits for the one that is already computing this image, if any.
    /// Whatever goes wrong here costs a second computation, never the answer.
    async fn computed_by_peer(&self, inner: &Inner) -> Result<Option<Prediction>, Failure> {
        if inner.peers.is_alone() || !inner.bus.is_up() {
            return Ok(None);
        }
        let mut gone = None;
        while let Some(gateway) = inner.claims.claim(&self.key, gone.take()).await {
            match inner.peers.ask(&gateway, &self.key).await {
                FlightNews::Landed(landed) => return landed.map(Some),
                FlightNews::StillFlying => {}
                FlightNews::Unknown => {
                    if let Some(prediction) = self.look_up(inner).await {
                        return Ok(Some(prediction));
                    }
                    gone = Some(gateway);
                }
            }
        }
        Ok(None)
    }

    fn md5(&self) -> ImageMd5 {
        self.key.image.md5(&self.ask.image)
    }

    fn keep(&self, inner: &Inner, prediction: Prediction, md5: ImageMd5) -> Arc<Entry> {
        let entry = Entry::of(prediction, &self.key.image, md5, &self.ask.image);
        // A worker with another version of the model may have answered: its key is its own.
        if self.ask.caching.no_store || entry.prediction.digest != self.key.model {
            return Arc::new(entry);
        }
        inner.memory.put(self.key.clone(), entry)
    }

    async fn ask_workers(&self, inner: &Arc<Inner>) -> Result<(Outcome, Published, ComingMd5), Refusal> {
        if !inner.bus.is_up() {
            return Err(Failure::new(FailureCode::NoCapacity, "NATS is not reachable").into());
        }
        // A fleet that sleeps starts a worker as soon as a job is there.
        if !inner.models.can_answer(&self.model) {
            if inner.bus.is_silent() {
                return Err(Failure::new(FailureCode::NoCapacity, "NATS takes requests and does not answer").into());
            }
            let message = format!("no worker serves model `{}` at the moment", self.model);
            return Err(Failure::new(FailureCode::NoCapacity, message).into());
        }
        if !inner.admission.knows(&self.model) {
            inner.admission.observe(&self.model, first_guess(inner.models.fleet(), &self.model));
        }
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let knock = Knock { tenant: &self.ask.tenant, key: &self.key, remaining };
        let place = inner.admission.admit(&self.model, &knock)?;
        let id = JobId::mint();
        let mut connections = inner.bus.connections();
        connections.mark_unchanged();
        let mut waiter = inner.replies.expect(id.clone());
        let begun = Instant::now();
        let mut cleanup = Cleanup {
            inner: inner.clone(),
            model: self.model.clone(),
            job: Some(id.clone()),
            sequence: None,
            object: None,
        };
        let image = self.place_image(inner, &id, &mut cleanup).await?;
        let published = inner.bus.publish_job(self.job(inner, id, image));
        let published = tokio::time::timeout_at(self.deadline.into(), published)
            .await
            .map_err(|_| expired("the queue did not take the job"))?;
        let published = published.map_err(|refused| refusal(refused, inner.admission.wait(&self.model)))?;
        cleanup.sequence = Some(published.sequence);
        let publish = Published { begun, took: begun.elapsed() };
        let md5 = inner.md5s.begin(&self.key.image, &self.ask.image);
        let mut looking: Option<BoxFuture<'_, Option<Prediction>>> = None;
        loop {
            let found = async {
                match &mut looking {
                    Some(looking) => looking.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = waiter.answer() => {
                    cleanup.disarm();
                    let is_late = |failure: &Failure| failure.code == FailureCode::DeadlineExceeded;
                    place.ended(!outcome.result.as_ref().is_err_and(is_late));
                    return Ok((outcome, publish, md5));
                }
                () = tokio::time::sleep_until(self.deadline.into()) => {
                    place.ended(false);
                    return Err(expired("no worker answered").into());
                }
                found = found => {
                    looking = None;
                    if let Some(prediction) = found {
                        cleanup.disarm();
                        return Ok((found_after_reconnect(waiter.id().clone(), prediction), publish, md5));
                    }
                }
                // An answer sent while the connection was down is lost; the prediction is not.
                changed = connections.changed() => {
                    if changed.is_err() {
                        return Err(Failure::new(FailureCode::NoCapacity, "the connection to NATS was closed").into());
                    }
                    looking = inner.bus.is_up().then(|| self.look_up_after_reconnect(inner).boxed());
                }
            }
        }
    }

    async fn place_image(&self, inner: &Inner, id: &JobId, cleanup: &mut Cleanup) -> Result<Image, Refusal> {
        let placed = place_image(inner, id, &self.ask.image, &self.key.image);
        let placed = tokio::time::timeout_at(self.deadline.into(), placed);
        // Even when it was not stored in time: it may be there in part.
        cleanup.object = (self.ask.image.len() > inner.config.inline_bytes).then(|| id.to_string());
        let placed = placed.await.map_err(|_| expired("the upload could not be stored"))?;
        placed.map_err(|refused| refusal(refused, inner.admission.wait(&self.model)))
    }

    fn job(&self, inner: &Inner, id: JobId, image: Image) -> NewJob {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let digest = self.key.image.sha256(&self.ask.image);
        NewJob {
            reply: Some(inner.replies.subject(&id)),
            vouch: inner.replies.vouch(&id, &digest, self.ask.image.len()),
            id,
            model: self.model.clone(),
            lane: self.ask.lane,
            image,
            digest,
            deadline: Some(Deadline::after(SystemTime::now(), remaining)),
            accept: ACCEPT_BINCODE,
            top_k: None,
            no_store: self.ask.caching.no_store,
            once: self.once,
            trace: self.ask.trace.clone(),
        }
    }
}

/// Small images travel in the job, large ones as objects.
pub(crate) async fn place_image(inner: &Inner, id: &JobId, image: &Bytes, key: &ImageKey) -> Result<Image, Refused> {
    if image.len() <= inner.config.inline_bytes {
        return Ok(Image::Inline(image.clone()));
    }
    // Seldom, and large: not part of every flight.
    let stored = Box::pin(inner.uploads.put(id.as_str(), image, &key.sha256(image))).await;
    stored.inspect_err(|error| tracing::warn!(%error, "a large upload was not stored"))?;
    Ok(Image::Object(id.to_string()))
}

fn found_after_reconnect(job: JobId, prediction: Prediction) -> Outcome {
    let served = Served { worker: String::new(), batch: 0, attempt: 1, timings: Default::default() };
    Outcome { job, result: Ok(prediction), served }
}

fn expired(what: &str) -> Failure {
    Failure::new(FailureCode::DeadlineExceeded, format!("{what} before the deadline"))
}

/// What the broker refuses: a full lane is as long a wait as what is in it.
pub(crate) fn refusal(refused: Refused, wait: Option<Duration>) -> Refusal {
    let code = match &refused {
        Refused::Full(_) => FailureCode::Overloaded,
        Refused::TooLarge(_) => FailureCode::TooLarge,
        Refused::NoQueue | Refused::Unavailable(_) => FailureCode::NoCapacity,
    };
    let refusal = Refusal::from(Failure::new(code, refused.to_string()));
    if code == FailureCode::Overloaded {
        Refusal { retry_after: wait.or(refusal.retry_after), ..refusal }
    } else {
        refusal
    }
}

/// What must go when nobody waits any more: the job, so that it burns no CPU, and its upload.
struct Cleanup {
    inner: Arc<Inner>,
    model: ModelName,
    job: Option<JobId>,
    sequence: Option<u64>,
    object: Option<String>,
}

impl Cleanup {
    /// The job has ended; its worker removes the upload.
    fn disarm(&mut self) {
        self.job = None;
        self.object = None;
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let (sequence, object) = (self.sequence, self.object.take());
        let (inner, model) = (self.inner.clone(), self.model.clone());
        // Without a runtime the process is ending: the broker's time to live cleans up instead.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            inner.bus.cancel_job(&model, &job, sequence).await;
            if let Some(object) = object {
                inner.uploads.remove(&object).await;
            }
        });
    }
}
