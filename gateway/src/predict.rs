//! The use case: an image comes in, a prediction goes out. Knows no HTTP.
//!
//! Memory, then the flight that may be under way for the same image, then the shared cache, then
//! the queue. A waiter exists before its job is published, and nothing polls.

mod flight;
mod shadow;
mod told;
mod versions;
mod waterfall;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::RwLock;
use shoal_nats::Bus;
use shoal_nats::cache::SharedCache;
use shoal_nats::claims::Claims;
use shoal_nats::peers::{FlightNews, Peers};
use shoal_nats::register::Register;
use shoal_nats::replies::Replies;
use shoal_nats::uploads::Uploads;
use shoal_shared::attribution::{Report, StageTimes};
use shoal_shared::digest::{CacheKey, DigestKind, ImageKey};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::{Lane, ModelName, Version};
use shoal_shared::prediction::Served;
use shoal_shared::presence::ModelStatus;
use shoal_shared::process::VERSION;
use shoal_shared::process::spans::Spans;
use shoal_shared::sniff::ImageLimits;
use shoal_shared::status::Status;
use shoal_shared::trace::Trace;
use tokio::sync::Semaphore;

use flight::{Landed, Mission};
pub(crate) use flight::{Published, place_image, refusal};

use crate::admission::{Admission, Charge, Refusal, Tenant};
use crate::attribution::Judged;
use crate::cache::{Entry, Kept, MemoryCache};
use crate::config::GatewayConfig;
use crate::flights::Flights;
use crate::md5_together::Md5Together;
use crate::metrics::GatewayMetrics;
use crate::models::Models;
use crate::models::choice::Candidate;
use crate::statistics::Statistics;

/// A request for a prediction.
#[derive(Clone)]
pub struct Ask {
    /// The model, when named.
    pub model: Option<ModelName>,
    /// The encoded image.
    pub image: Bytes,
    /// Its digest.
    pub digest: ImageKey,
    /// How urgent it is.
    pub lane: Lane,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What the client says about caching.
    pub caching: Caching,
    /// Which request it is.
    pub trace: Trace,
    /// On whose behalf.
    pub tenant: Tenant,
    /// The memory that the image takes.
    pub charge: Arc<Charge>,
}

/// What the client says about caching.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caching {
    /// Do not answer from the cache.
    pub no_cache: bool,
    /// Do not keep the answer either.
    pub no_store: bool,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This gateway's memory.
    Hit,
    /// What all share.
    Shared,
    /// Somebody else's job, already under way.
    Coalesced,
    /// A job of its own.
    Miss,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 4] = [Source::Hit, Source::Shared, Source::Coalesced, Source::Miss];

    /// Word in answers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Hit => "hit",
            Source::Shared => "shared",
            Source::Coalesced => "coalesced",
            Source::Miss => "miss",
        }
    }
}

/// An answer.
pub struct Answered {
    /// The prediction, with what is kept beside it.
    pub entry: Arc<Entry>,
    /// Where it came from.
    pub source: Source,
    /// The key it is cached under.
    pub key: CacheKey,
    /// Who computed it, when that just happened.
    pub served: Option<Served>,
    /// Where the time went from the complete upload to the answer.
    pub stages: StageTimes,
    /// The model as clients name it, and its version when it has one.
    pub named: (ModelName, Option<Version>),
}

impl Answered {
    /// The same, as an answer of this version: another one with the same content may have computed it.
    fn by(self, of: &Candidate) -> Self {
        Self { named: (of.model.clone(), of.version.clone()), ..self }
    }
}

/// The parts that answer. Cheap to clone.
#[derive(Clone)]
pub struct Predictor(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: GatewayConfig,
    pub(crate) bus: Bus,
    pub(crate) replies: Replies,
    pub(crate) shared: SharedCache,
    pub(crate) uploads: Uploads,
    pub(crate) memory: MemoryCache,
    pub(crate) models: Models,
    pub(crate) metrics: Arc<GatewayMetrics>,
    pub(crate) peers: Peers,
    pub(crate) claims: Claims,
    pub(crate) register: Register,
    pub(crate) admission: Admission,
    statistics: Statistics,
    spans: Spans,
    judged: RwLock<Arc<Judged>>,
    /// Places for images that shadows are asked.
    shadows: Arc<Semaphore>,
    flights: Flights<Landed>,
    pub(crate) md5s: Arc<Md5Together>,
}

/// What a predictor is made of.
pub struct Parts {
    /// Configuration.
    pub config: GatewayConfig,
    /// The bus.
    pub bus: Bus,
    /// The inbox.
    pub replies: Replies,
    /// The shared cache.
    pub shared: SharedCache,
    /// The large uploads.
    pub uploads: Uploads,
    /// The memory tier.
    pub memory: MemoryCache,
    /// The models.
    pub models: Models,
    /// The metrics.
    pub metrics: Arc<GatewayMetrics>,
    /// The other gateways.
    pub peers: Peers,
    /// Who computes what.
    pub claims: Claims,
    /// Accepted asynchronous jobs.
    pub register: Register,
    /// Where spans go.
    pub spans: Spans,
}

impl Predictor {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, bus, replies, shared, uploads, memory, models, metrics, peers, claims, register, spans } =
            parts;
        let admission = Admission::new(&config, metrics.clone());
        let flights = Flights::new();
        let shadows = Arc::new(Semaphore::new(config.rollout.shadow_in_flight));
        Self(Arc::new(Inner {
            config,
            bus,
            replies,
            shared,
            uploads,
            memory,
            models,
            metrics,
            peers,
            claims,
            register,
            admission,
            statistics: Statistics::default(),
            spans,
            judged: RwLock::default(),
            shadows,
            flights,
            md5s: Arc::default(),
        }))
    }

    /// The models.
    pub fn models(&self) -> &Models {
        &self.0.models
    }

    /// The configuration.
    pub fn config(&self) -> &GatewayConfig {
        &self.0.config
    }

    /// The bus.
    pub fn bus(&self) -> &Bus {
        &self.0.bus
    }

    /// The metrics.
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.0.metrics
    }

    /// Which part is the bottleneck, as judged last.
    pub fn report(&self) -> Report {
        self.0.judged.read().report.clone()
    }

    /// Everything that is worth a look.
    pub fn status(&self) -> Status {
        let judged = self.0.judged.read().clone();
        let fleet = self.0.models.fleet();
        let lanes = |model: ModelStatus| Lane::ALL.map(|lane| self.0.metrics.queue(&model.name, lane));
        let mut workers = fleet.workers();
        workers.sort_by(|a, b| (&a.model.name, &a.host, a.pid).cmp(&(&b.model.name, &b.host, b.pid)));
        Status {
            version: VERSION.into(),
            report: judged.report.clone(),
            answered: judged.answered,
            latency_ms: judged.latency_ms,
            queues: fleet.models().into_iter().flat_map(lanes).collect(),
            workers,
        }
    }

    /// A new verdict.
    pub fn judged(&self, judged: Judged) {
        *self.0.judged.write() = Arc::new(judged);
    }

    /// The other gateways.
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    /// How a flight of this gateway ends, for a peer that wants the same.
    pub async fn flight_news(&self, key: &CacheKey) -> FlightNews {
        // In this order: a flight that is not found any more has left in memory how it ended.
        let Some(flight) = self.0.flights.find(key) else {
            let Some(known) = self.0.memory.known(key) else { return FlightNews::Unknown };
            return FlightNews::Landed(Box::new(known.map(|entry| entry.prediction.clone())));
        };
        match flight.landed().await {
            Some(Landed::Answered { entry, .. }) => FlightNews::Landed(Box::new(Ok(entry.prediction.clone()))),
            Some(Landed::Failed(refusal)) if refusal.failure.code.is_clients_fault() => {
                FlightNews::Landed(Box::new(Err(refusal.failure)))
            }
            // Our deadline, our overload: the peer tries for itself.
            Some(Landed::Failed(_)) | None => FlightNews::Unknown,
        }
    }

    /// Counts and times of each model.
    pub fn statistics(&self) -> &Statistics {
        &self.0.statistics
    }

    /// The door.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    pub(crate) fn parts(&self) -> &Inner {
        &self.0
    }

    /// The memory tier.
    pub fn memory(&self) -> &MemoryCache {
        &self.0.memory
    }

    /// Digest that identifies images in cache keys.
    pub fn digest_kind(&self) -> DigestKind {
        self.0.config.nats.topology.digest
    }

    /// Bounds on images.
    pub fn limits(&self) -> &ImageLimits {
        &self.0.config.limits
    }

    /// A prediction that is already known, without an image.
    pub async fn known(&self, model: Option<&ModelName>, image: ImageKey) -> Result<Option<Answered>, Failure> {
        let of = self.0.models.choose(model, &image).await?.first;
        let key = CacheKey { model: of.digest.clone(), image };
        let begun = Instant::now();
        if let Some(hit) = self.remembered(&key, begun) {
            return Ok(Some(hit.by(&of)));
        }
        if !self.0.bus.is_up() {
            return Ok(None);
        }
        let found = tokio::time::timeout(self.0.config.cache.shared_budget, self.0.shared.get(&key)).await;
        let Some(prediction) = found.ok().and_then(Result::ok).flatten() else { return Ok(None) };
        // Not kept in memory: without the image its other digest is not known.
        let (sha256, md5) = match image {
            ImageKey::Sha256(sha256) => (Some(sha256), None),
            ImageKey::Md5(md5) => (None, Some(md5)),
        };
        let entry =
            Arc::new(Entry { prediction, sha256, md5, format: None, since: Instant::now(), kept: Kept::default() });
        let stages = waterfall::looked_up(begun.elapsed());
        let named = (of.model, of.version);
        Ok(Some(Answered { entry, source: Source::Shared, key, served: None, stages, named }))
    }

    /// Answers, one way or another, within the deadline.
    pub async fn predict(&self, ask: Ask) -> Result<Answered, Refusal> {
        let (asked, wanted) = (Instant::now(), ask.model.clone());
        let answered = self.answer(ask).await;
        let exists = |name: &ModelName| self.0.models.fleet().model(name).is_some();
        let name = match &answered {
            Ok(answered) => Some(answered.named.0.clone()),
            Err(_) => wanted.or_else(|| self.0.config.default_model.clone()).filter(exists),
        };
        if let Some(name) = name {
            self.0.statistics.record(&name, asked.elapsed(), &answered);
        }
        let answered = answered?;
        self.0.metrics.predicted(answered.source, answered.entry.prediction.infer_us);
        Ok(answered)
    }

    fn remembered(&self, key: &CacheKey, asked: Instant) -> Option<Answered> {
        let entry = self.0.memory.get(key)?;
        let stages = waterfall::looked_up(asked.elapsed());
        let named = (entry.prediction.model.clone(), None);
        Some(Answered { entry, source: Source::Hit, key: key.clone(), served: None, stages, named })
    }

    /// Joins the flight for this image or starts one, and waits for it until the deadline.
    async fn fly(&self, mission: Mission) -> Result<Answered, Refusal> {
        let (key, asked, deadline) = (mission.key.clone(), mission.asked, mission.deadline);
        loop {
            let launch = || mission.clone().run(self.0.clone());
            let (flight, started) = if mission.by_cache {
                self.0.flights.join(&key, launch)
            } else {
                (self.0.flights.alone(launch()), true)
            };
            let landed = tokio::time::timeout_at(deadline.into(), flight.landed());
            let landed = landed.await.map_err(|_| too_late(deadline))?;
            let landed = landed.ok_or_else(|| Failure::new(FailureCode::Internal, "the request's task ended early"))?;
            match landed {
                // The flight kept the deadline of whoever started it; ours may be later.
                Landed::Failed(refusal) if refusal.failure.code == FailureCode::DeadlineExceeded && !started => {
                    if Instant::now() >= deadline {
                        return Err(refusal);
                    }
                }
                Landed::Failed(refusal) => return Err(refusal),
                Landed::Answered { entry, source, served, published } => {
                    let waited = asked.elapsed();
                    let source = if started { source } else { Source::Coalesced };
                    let stages = match source {
                        Source::Coalesced => waterfall::joined(waited),
                        _ => waterfall::flown(waited, asked, published, served.as_ref()),
                    };
                    let named = (entry.prediction.model.clone(), None);
                    return Ok(Answered { entry, source, key, served, stages, named });
                }
            }
        }
    }
}

fn too_late(deadline: Instant) -> Failure {
    let over = deadline.elapsed().as_millis();
    Failure::new(FailureCode::DeadlineExceeded, format!("no answer by the deadline ({over} ms ago)"))
}
