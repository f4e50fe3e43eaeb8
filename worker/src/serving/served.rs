//! One model being served: its sessions, decode threads and lanes. What jobs need on the bus and what they
//! are measured by is shared with the models beside it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shoal_nats::Bus;
use shoal_nats::attempts::Attempts;
use shoal_nats::cache::SharedCache;
use shoal_nats::cancel::Cancelled;
use shoal_nats::delivery::Delivery;
use shoal_nats::describe::Description;
use shoal_nats::puller::Puller;
use shoal_nats::uploads::Uploads;
use shoal_nats::vouched::Vouched;
use shoal_shared::names::{Lane, ModelName, NodeId};
use shoal_shared::presence::{HoldState, ModelStatus};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::spans::Spans;
use tokio::sync::{Semaphore, mpsc, watch};

use super::cpu::CpuBudget;
use super::loader::Loaded;
use super::roll::{LaneSlots, Line, Tally};
use super::wishes::Identity;
use crate::config::WorkerConfig;
use crate::image::{Helpers, Normaliser, Preprocessor};
use crate::metrics::WorkerMetrics;
use crate::model::{Crew, ModelSession};
use crate::pipeline::{
    DecodePool, FailureStreak, FinishedSender, Held, Intake, Kind, Lanes, Quarantine, Ready, SessionThread,
    SessionWork, Settler, Shape, Shared, lanes, run_decode_thread,
};

/// What every model of a process is served with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) id: NodeId,
    pub(crate) bus: Bus,
    pub(crate) cache: SharedCache,
    pub(crate) vouched: Vouched,
    pub(crate) uploads: Uploads,
    pub(crate) attempts: Attempts,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) spans: Spans,
    pub(crate) budget: CpuBudget,
    /// When the process started.
    pub(crate) origin: Instant,
}

/// A model whose jobs are pulled.
pub(crate) struct ServedModel {
    pub(crate) identity: Identity,
    line: Line,
    shape: Shape,
    means: Means,
    /// The way in, for lanes that are added later; closed with the last puller.
    delivered: mpsc::Sender<Delivery>,
    stop: Shutdown,
    /// The lanes of those who name the model and no version, while this version is the live one.
    unversioned: Option<(Shutdown, Vec<LaneSlots>)>,
    broken: watch::Receiver<bool>,
    settling: tokio::task::JoinHandle<()>,
    threads: Vec<JoinHandle<()>>,
}

impl ServedModel {
    /// Looks up the model's lanes and starts to work; creates nothing on the bus.
    pub(crate) async fn start(identity: Identity, loaded: Loaded, means: Means) -> anyhow::Result<Self> {
        let Loaded { model, crew, bytes, took } = loaded;
        let Means { config, bus, metrics, .. } = &means;
        let (shape, tally) = (crew.shape, Arc::new(Tally::default()));
        tally.asked(means.origin.elapsed());
        let status = ModelStatus {
            name: identity.name.clone(),
            digest: model.digest.clone(),
            title: model.manifest.title.clone(),
            max_batch: shape.in_flight(),
            classes: crew.wide.classes(),
            input_name: crew.wide.input().name.clone(),
            input_shape: crew.wide.input().shape(1)[1..].to_vec(),
            image_ms: crew.image_ms,
            precision: model.manifest.precision,
            engine: crew.engines.clone(),
        };
        // Twice what is in the sessions: the next is being decoded. More would be hoarding.
        let (delivered, deliveries) = mpsc::channel(2 * (4 * shape.in_flight() + config.decoders()));
        let cancelled = Cancelled::listen(bus, &identity.name).await?;
        let stop = Shutdown::new();
        let pullers = attach(&identity.name, shape, &means, &delivered).await?;
        let int8_would_help = model.precision.would_gain_from_int8();
        metrics.serves(&model);
        metrics.image_seconds.set(f64::from(crew.image_ms) / 1e3);
        metrics.model_load_seconds.set(took.as_secs_f64());
        let told = Description {
            manifest: model.manifest.clone(),
            labels: model.labels.clone(),
            digest: model.digest.clone(),
        };
        let (asked, name, until) = (bus.clone(), identity.name.clone(), stop.clone());
        stop.spawn(async move { asked.on_describe(name, told, until).await });
        let shared = Shared {
            metrics: metrics.clone(),
            model: Arc::new(model),
            digest: config.nats.topology.digest,
            cancelled,
            spans: means.spans.clone(),
            tally: tally.clone(),
            origin: means.origin,
            named: (identity.model.clone(), identity.pushed.as_ref().map(|pushed| pushed.version.clone())),
        };
        let (streak, broken) = FailureStreak::new(config.max_failures);
        let (settling, threads) = start_stages(&means, shared, crew, (streak, deliveries), &stop)?;
        let slots = run_pullers(pullers, &stop, &stop);
        let line = Line {
            status,
            state: HoldState::Ready,
            reason: None,
            slots,
            tally,
            memory_bytes: bytes,
            loaded_in: took,
            decoders: config.decoders(),
            int8_would_help,
        };
        Ok(Self { identity, line, shape, means, delivered, stop, unversioned: None, broken, settling, threads })
    }

    /// Also takes jobs of those who name the model and no version. Where nobody has provisioned such a
    /// queue, there are none.
    pub(crate) async fn take_unversioned(&mut self) {
        if self.unversioned.is_some() || self.identity.pushed.is_none() {
            return;
        }
        let Ok(models) = self.means.bus.provisioned_models().await else { return };
        if !models.contains(&self.identity.model) {
            return;
        }
        match attach(&self.identity.model, self.shape, &self.means, &self.delivered).await {
            Ok(pullers) => {
                let stop = Shutdown::new();
                let slots = run_pullers(pullers, &self.stop, &stop);
                self.unversioned = Some((stop, slots));
            }
            Err(error) => tracing::warn!(%error, model.name = %self.identity.model, "jobs without a version wait"),
        }
    }

    /// Leaves jobs without a version to another one.
    pub(crate) fn leave_unversioned(&mut self) {
        if let Some((stop, _)) = self.unversioned.take() {
            stop.order();
        }
    }

    /// For heartbeats.
    pub(crate) fn line(&self) -> Line {
        let mut line = self.line.clone();
        line.slots.extend(self.unversioned.iter().flat_map(|(_, slots)| slots.clone()));
        line
    }

    pub(crate) fn last_asked(&self) -> Duration {
        self.line.tally.last_asked()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.line.memory_bytes
    }

    /// Most images in its sessions at once.
    pub(crate) fn in_flight(&self) -> usize {
        self.shape.in_flight()
    }

    /// Whether its session failed so many images in a row that it is of no use.
    pub(crate) fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }

    /// Resolves when it is.
    pub(crate) fn breaks(&self) -> watch::Receiver<bool> {
        self.broken.clone()
    }

    /// Pulls nothing more, finishes what is in hand, frees everything.
    pub(crate) async fn drain(mut self) {
        self.leave_unversioned();
        self.stop.order();
        drop(self.delivered);
        self.stop.finished().await;
        let _ = self.settling.await;
        let threads = self.threads;
        let _ = tokio::task::spawn_blocking(|| threads.into_iter().for_each(|thread| drop(thread.join()))).await;
    }
}

/// A puller and the jobs it may hold.
type Pullers = Vec<(Puller, usize)>;

async fn attach(
    model: &ModelName,
    shape: Shape,
    means: &Means,
    delivered: &mpsc::Sender<Delivery>,
) -> anyhow::Result<Pullers> {
    let twice = 2 * shape.in_flight();
    let mut pullers = Vec::new();
    for (lane, capacity) in [(Lane::Interactive, twice + means.config.decoders()), (Lane::Bulk, twice)] {
        let puller = Puller::attach(&means.bus, model, lane, capacity, delivered.clone()).await?;
        pullers.push((puller, capacity));
    }
    Ok(pullers)
}

/// Runs pullers that `stop` ends; `all` waits for them.
fn run_pullers(pullers: Pullers, all: &Shutdown, stop: &Shutdown) -> Vec<LaneSlots> {
    let run = |(puller, capacity): (Puller, usize)| {
        let slots: (Arc<AtomicU32>, usize) = (puller.held(), capacity);
        all.spawn(puller.run(stop.clone()));
        slots
    };
    pullers.into_iter().map(run).collect()
}

type Stages = (tokio::task::JoinHandle<()>, Vec<JoinHandle<()>>);

fn start_stages(
    means: &Means,
    shared: Shared,
    crew: Crew,
    (streak, deliveries): (FailureStreak, mpsc::Receiver<Delivery>),
    stop: &Shutdown,
) -> anyhow::Result<Stages> {
    let (finished, to_settle) = mpsc::unbounded_channel();
    let (queue, max_attempts) = (lanes(), means.config.nats.topology.max_attempts.max(1));
    let (suspects_in, suspects) = mpsc::unbounded_channel();
    let intake = Intake {
        shared: shared.clone(),
        cache: means.cache.clone(),
        vouched: means.vouched.clone(),
        uploads: means.uploads.clone(),
        // One image for each decode thread, and the next one.
        places: [(); 2].map(|()| Arc::new(Semaphore::new(2 * means.config.decoders()))),
        limits: means.config.limits,
        lanes: queue.clone(),
        suspects: suspects_in,
        finished: finished.clone(),
    };
    let quarantine = Quarantine {
        attempts: means.attempts.clone(),
        worker: means.id.clone(),
        max_attempts,
        lanes: queue.clone(),
        finished: finished.clone(),
    };
    let settler = Settler {
        shared: shared.clone(),
        bus: means.bus.clone(),
        cache: means.cache.clone(),
        uploads: means.uploads.clone(),
        worker: means.id.clone(),
        attempts: means.attempts.clone(),
        max_attempts,
    };
    let threads = Threads { means, shared, streak, queue, finished }.start(crew)?;
    stop.spawn(intake.run(deliveries));
    stop.spawn(quarantine.run(suspects));
    Ok((tokio::spawn(settler.run(to_settle)), threads))
}

/// What the threads of one model are made of.
struct Threads<'a> {
    means: &'a Means,
    shared: Shared,
    streak: FailureStreak,
    queue: Arc<Lanes<Held>>,
    finished: FinishedSender,
}

impl Threads<'_> {
    fn start(self, crew: Crew) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let Crew { wide, narrow, narrow_threads, shape, .. } = crew;
        let Self { means, shared, streak, queue, finished } = self;
        let config = &means.config;
        let input = wide.input().clone();
        let pool = DecodePool::new(4 * shape.in_flight());
        let (ready, feeder) = Ready::new(shape, config.max_delay);
        let (helpers, mut threads) = (Helpers::default(), Vec::new());
        for number in 0..config.decoders() {
            let spec = &shared.model.manifest.input;
            let mut preprocessor =
                Preprocessor::new(spec, input.layout, input.size, config.limits).helped_by(helpers.clone());
            if number == 0 {
                preprocessor.warm_up();
            }
            let (shared, pool, queue, helpers) = (shared.clone(), pool.clone(), queue.clone(), helpers.clone());
            let ends = (feeder.clone(), finished.clone());
            threads.push(named(format!("decode-{number}"), move || {
                run_decode_thread(&shared, preprocessor, &pool, (&queue, &helpers), ends);
            })?);
        }
        let (budget, spec) = (means.budget.clone(), &shared.model.manifest.input);
        let normaliser = Normaliser::new(spec, input.layout);
        let work = SessionWork { shared, decoded: ready, normaliser, finished, pool, streak, budget };
        let narrow = narrow.into_iter().map(|one| (Kind::Narrow, narrow_threads, one));
        let wide = (Kind::Wide, means.budget.threads(), wide);
        let sessions: Vec<(Kind, usize, ModelSession)> = std::iter::once(wide).chain(narrow).collect();
        for (number, (kind, width, session)) in sessions.into_iter().enumerate() {
            let thread = SessionThread::new(work.clone(), kind, width, session);
            threads.push(named(format!("session-{number}"), move || thread.run())?);
        }
        Ok(threads)
    }
}

fn named(name: String, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(work)
}
