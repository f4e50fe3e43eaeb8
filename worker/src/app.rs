//! One worker: its parts built, run, drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use prometheus::Registry;
use shoal_nats::Bus;
use shoal_nats::attempts::Attempts;
use shoal_nats::cache::SharedCache;
use shoal_nats::cancel::Cancelled;
use shoal_nats::delivery::Delivery;
use shoal_nats::puller::Puller;
use shoal_nats::uploads::Uploads;
use shoal_shared::names::{Lane, NodeId};
use shoal_shared::presence::{ModelStatus, Slots, Used, WorkerState, WorkerStatus};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::spans::Spans;
use shoal_shared::process::{VERSION, admin, available_cores, host, host_name, notify};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use crate::config::WorkerConfig;
use crate::image::Preprocessor;
use crate::metrics::WorkerMetrics;
use crate::model::{Crew, Model, ModelStore, Runtime, Wanted};
use crate::pipeline::{
    DecodePool, FailureStreak, Held, Intake, Kind, Lanes, Quarantine, Ready, SessionThread, SessionWork, Settler,
    Shape, Shared, lanes, run_decode_thread,
};

/// A worker that is built and not yet pulling.
pub struct Worker {
    config: WorkerConfig,
    id: NodeId,
    bus: Bus,
    buckets: Buckets,
    supply: Option<Supply>,
    shared: Shared,
    crew: Crew,
    registry: Registry,
    started: Instant,
}

/// What is kept on the bus.
#[derive(Clone)]
struct Buckets {
    cache: SharedCache,
    uploads: Uploads,
    attempts: Attempts,
}

/// Where jobs come from: a puller for each lane, with the number of jobs it may hold.
struct Supply {
    pullers: Vec<(Puller, usize)>,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Supply {
    async fn attach(bus: &Bus, config: &WorkerConfig, shape: Shape) -> anyhow::Result<Self> {
        // Twice what is in the sessions: the next is being decoded. More would be hoarding.
        let twice = 2 * shape.in_flight();
        let capacity = [(Lane::Interactive, twice + config.decoders()), (Lane::Bulk, twice)];
        let (delivered, deliveries) = mpsc::channel(capacity.iter().map(|(_, slots)| slots).sum());
        let mut pullers = Vec::new();
        for (lane, capacity) in capacity {
            let puller = Puller::attach(bus, &config.model, lane, capacity, delivered.clone()).await?;
            pullers.push((puller, capacity));
        }
        Ok(Self { pullers, deliveries })
    }
}

impl Worker {
    /// Loads the model and warms it up, connects to the bus. Creates nothing there.
    pub async fn build(config: WorkerConfig, spans: Spans) -> anyhow::Result<Self> {
        let started = Instant::now();
        config.check()?;
        let runtime = Runtime::load(config.device)?;
        let mut model = ModelStore::open(&config.models_dir).load(&config.model)?;
        let wanted = Wanted { threads: config.session_threads(), max_batch: config.max_batch };
        let crew = Crew::assemble(&runtime, &model, wanted)?;
        let (shape, image_ms, model_load) = (crew.shape, crew.image_ms, started.elapsed());
        tracing::info!(
            model.name = %model.manifest.name, model.digest = %model.digest, ?shape, image_ms, "model warmed up"
        );
        // Every session has its own copy.
        model.forget_weights();
        let id = NodeId::mint("worker");
        let bus = Bus::connect(&config.nats, id.as_str(), config.startup_patience).await?;
        let buckets = Buckets {
            cache: SharedCache::open(&bus).await?,
            uploads: Uploads::open(&bus).await?,
            attempts: Attempts::open(&bus).await?,
        };
        let supply = Some(Supply::attach(&bus, &config, crew.shape).await?);
        let registry = Registry::new();
        let metrics = Arc::new(WorkerMetrics::register(&registry)?);
        metrics.serves(&model);
        metrics.model_load_seconds.set(model_load.as_secs_f64());
        metrics.image_seconds.set(f64::from(image_ms) / 1e3);
        metrics.decode_threads.set(config.decoders() as i64);
        metrics.session_threads.set(config.session_threads() as i64);
        metrics.batch_max.set(shape.in_flight() as i64);
        let cancelled = Cancelled::listen(&bus, &config.model).await?;
        bus.check_permissions()?;
        let digest = config.nats.topology.digest;
        let shared = Shared { metrics, model: Arc::new(model), digest, cancelled, spans };
        Ok(Self { config, id, bus, buckets, supply, shared, crew, registry, started })
    }

    /// Pulls, works and answers until shutdown is ordered and everything in hand is settled.
    pub async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (ready, readiness) = watch::channel(false);
        let stop_admin = Shutdown::new();
        let listener = TcpListener::bind(&self.config.admin).await?;
        let admin = admin::serve(listener, self.registry.clone(), readiness, stop_admin.clone())?;
        let Buckets { cache, uploads, attempts } = self.buckets.clone();
        let max_attempts = self.config.nats.topology.max_attempts.max(1);

        let Supply { pullers, deliveries } = self.supply.take().context("a worker runs once")?;
        self.shared.metrics.slots.set(pullers.iter().map(|(_, capacity)| *capacity as i64).sum());
        let mut slots = Vec::new();
        for (puller, capacity) in pullers {
            slots.push((puller.held(), capacity));
            shutdown.spawn(puller.run(shutdown.clone()));
        }

        let (finished, to_settle) = mpsc::unbounded_channel();
        let settler = Settler {
            shared: self.shared.clone(),
            bus: self.bus.clone(),
            cache: cache.clone(),
            uploads: uploads.clone(),
            worker: self.id.clone(),
            attempts: attempts.clone(),
            max_attempts,
        };
        let queue = lanes();
        let (suspects_in, suspects) = mpsc::unbounded_channel();
        let (streak, mut broken) = FailureStreak::new(self.config.max_failures);
        let intake = Intake {
            shared: self.shared.clone(),
            cache,
            uploads,
            limits: self.config.limits,
            lanes: queue.clone(),
            suspects: suspects_in,
            finished: finished.clone(),
        };
        let quarantine = Quarantine {
            attempts,
            worker: self.id.clone(),
            max_attempts,
            lanes: queue.clone(),
            finished: finished.clone(),
        };
        let heart = Heart::new(&self, admin.to_string(), slots);
        let max_failures = self.config.max_failures;
        let (bus, grace, started) = (self.bus.clone(), self.config.drain_grace, self.started);
        let startup = self.shared.metrics.startup_seconds.clone();
        // Said before the first image: a worker that dies of one had started well all the same.
        notify::ready();
        let threads = self.start_threads(&queue, &finished, streak)?;
        drop(finished);

        shutdown.spawn(intake.run(deliveries));
        shutdown.spawn(quarantine.run(suspects));
        let settling = tokio::spawn(settler.run(to_settle));
        let heartbeat = heart.start(&bus, &stop_admin);
        startup.set(started.elapsed().as_secs_f64());
        ready.send_replace(true);
        tracing::info!(admin = %admin, ready_after = ?started.elapsed(), "worker ready");

        let is_broken = tokio::select! {
            () = shutdown.ordered() => false,
            Ok(_) = broken.wait_for(|broken| *broken) => true,
        };
        shutdown.order();
        ready.send_replace(false);
        heart.set_draining();
        tracing::info!(is_broken, "draining: no more pulls, finishing what is in hand");
        let drained = async {
            shutdown.finished().await;
            let _ = settling.await;
        };
        let in_time = tokio::time::timeout(grace, drained).await.is_ok();
        heart.say_goodbye(&bus).await;
        stop_admin.order();
        let _ = heartbeat.await;
        bus.flush().await;
        anyhow::ensure!(in_time, "drain exceeded {grace:?}: what is still in hand will be delivered to another worker");
        threads.into_iter().for_each(|thread| drop(thread.join()));
        tracing::info!("drained");
        anyhow::ensure!(!is_broken, "the session failed {max_failures} images in a row: this worker is of no use");
        Ok(())
    }

    fn start_threads(
        self,
        queue: &Arc<Lanes<Held>>,
        finished: &mpsc::UnboundedSender<crate::pipeline::Finished>,
        streak: FailureStreak,
    ) -> anyhow::Result<Vec<std::thread::JoinHandle<()>>> {
        let Crew { wide, narrow, shape, .. } = self.crew;
        let input = wide.input().clone();
        let pool = DecodePool::new(4 * shape.in_flight(), input.row_len());
        let (ready, feeder) = Ready::new(shape, self.config.max_delay);
        let mut threads = Vec::new();
        for number in 0..self.config.decoders() {
            let spec = &self.shared.model.manifest.input;
            let mut preprocessor = Preprocessor::new(spec, input.layout, input.size, self.config.limits);
            if number == 0 {
                preprocessor.warm_up();
            }
            let (shared, pool, queue) = (self.shared.clone(), pool.clone(), queue.clone());
            let ends = (feeder.clone(), finished.clone());
            threads.push(named(format!("decode-{number}"), move || {
                run_decode_thread(&shared, preprocessor, &pool, &queue, ends);
            })?);
        }
        let work =
            SessionWork { shared: self.shared.clone(), decoded: ready, finished: finished.clone(), pool, streak };
        let sessions = std::iter::once((Kind::Wide, wide)).chain(narrow.into_iter().map(|one| (Kind::Narrow, one)));
        for (number, (kind, session)) in sessions.enumerate() {
            let thread = SessionThread::new(work.clone(), kind, session);
            threads.push(named(format!("session-{number}"), move || thread.run())?);
        }
        Ok(threads)
    }
}

fn named(name: String, work: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(work)
}

/// What the heartbeat tells.
#[derive(Clone)]
struct Heart {
    status: WorkerStatus,
    slots: Vec<(Arc<AtomicU32>, usize)>,
    shared: Shared,
    started: Instant,
    draining: Arc<AtomicBool>,
    changed: Arc<Notify>,
}

impl Heart {
    fn new(worker: &Worker, admin: String, slots: Vec<(Arc<AtomicU32>, usize)>) -> Self {
        let (model, crew): (&Model, _) = (&worker.shared.model, &worker.crew);
        let status = WorkerStatus {
            id: worker.id.clone(),
            host: host_name(),
            pid: std::process::id(),
            version: VERSION.into(),
            admin,
            state: WorkerState::Ready,
            model: ModelStatus {
                name: model.manifest.name.clone(),
                digest: model.digest.clone(),
                title: model.manifest.title.clone(),
                max_batch: crew.shape.in_flight(),
                classes: crew.wide.classes(),
                input_shape: crew.wide.input().shape(1)[1..].to_vec(),
                image_ms: crew.image_ms,
            },
            slots: Slots { total: slots.iter().map(|(_, capacity)| *capacity as u32).sum(), busy: 0 },
            busy: 0.0,
            images: 0,
            used: Used::default(),
        };
        Self {
            status,
            slots,
            shared: worker.shared.clone(),
            started: worker.started,
            draining: Arc::default(),
            changed: Arc::default(),
        }
    }

    fn start(&self, bus: &Bus, shutdown: &Shutdown) -> tokio::task::JoinHandle<()> {
        let (bus, shutdown, changed) = (bus.clone(), shutdown.clone(), self.changed.clone());
        let heart = self.clone();
        let mut last = (Instant::now(), 0.0);
        let busy = parking_lot::Mutex::new(move |now: f64| {
            let (then, before) = std::mem::replace(&mut last, (Instant::now(), now));
            ((now - before) / then.elapsed().max(Duration::from_millis(1)).as_secs_f64()).clamp(0.0, 1.0) as f32
        });
        tokio::spawn(async move {
            bus.run_heartbeat(|| heart.status(&mut *busy.lock()), changed, shutdown).await;
        })
    }

    fn status(&self, busy: &mut impl FnMut(f64) -> f32) -> WorkerStatus {
        let draining = self.draining.load(Ordering::Relaxed);
        let held = |(held, _): &(Arc<AtomicU32>, usize)| held.load(Ordering::Relaxed);
        let metrics = &self.shared.metrics;
        let slots = Slots { busy: self.slots.iter().map(held).sum(), ..self.status.slots };
        metrics.slots_busy.set(slots.busy.into());
        WorkerStatus {
            state: if draining { WorkerState::Draining } else { WorkerState::Ready },
            slots,
            busy: busy(metrics.session_busy.get()),
            images: metrics.images.get(),
            used: self.used(),
            ..self.status.clone()
        }
    }

    fn used(&self) -> Used {
        let metrics = &self.shared.metrics;
        Used {
            uptime: self.started.elapsed().as_secs_f64(),
            sessions: metrics.session_busy.get(),
            decoding: metrics.decode_busy.get(),
            cpu: host::process_cpu(),
            host_cpu: host::cpu_times().unwrap_or_default().used,
            batches: metrics.batch_size.get_sample_count(),
            decode_threads: metrics.decode_threads.get() as u32,
            session_threads: metrics.session_threads.get() as u32,
            cores: available_cores() as u32,
            int8_would_help: self.shared.model.precision.would_gain_from_int8(),
        }
    }

    fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    async fn say_goodbye(&self, bus: &Bus) {
        bus.announce(&WorkerStatus { state: WorkerState::Gone, ..self.status.clone() }).await;
    }
}
