//! One worker: its parts built, run, drained.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prometheus::Registry;
use shoal_nats::Bus;
use shoal_nats::attempts::Attempts;
use shoal_nats::bundles::Bundles;
use shoal_nats::cache::{self, SharedCache};
use shoal_nats::catalog::Catalog;
use shoal_nats::uploads::Uploads;
use shoal_nats::vouched::Vouched;
use shoal_shared::names::NodeId;
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::spans::Spans;
use shoal_shared::process::{admin, memory, notify};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::config::WorkerConfig;
use crate::metrics::WorkerMetrics;
use crate::model::tuning::library_wanted;
use crate::model::{Machine, ModelStore, Runtime, RuntimeError, Wanted};
use crate::serving::{CpuBudget, First, Followed, Heart, Holder, Loader, Means, Roll, follow_orders};

/// A worker that is built and not yet pulling.
///
/// Its futures are boxed where they leave the crate: unboxed ones would be compiled once more in every
/// binary and test that polls them.
pub struct Worker {
    means: Means,
    holder: Holder,
    first: First,
    roll: Roll,
    changed: Arc<Notify>,
    registry: Registry,
    /// Ends what listens in the background.
    background: Shutdown,
}

/// The library that the profiles of the models served want; where there is none, or none that can be used here,
/// the standard one.
fn load_runtime(config: &WorkerConfig, store: &ModelStore) -> Result<Runtime, RuntimeError> {
    let machine = Machine::this(config.session_threads());
    let folders: Vec<_> = config.served_models().iter().flat_map(|name| store.folders(name)).collect();
    let library = library_wanted(&folders, &machine, config.device);
    Ok(Runtime::load_library(config.device, library)?.keep_engines_in(store.optimised_folder()))
}

impl Worker {
    /// Connects to the bus, loads the first model and warms it up. Creates nothing on the bus.
    pub fn build(config: WorkerConfig, spans: Spans) -> BoxFuture<'static, anyhow::Result<Self>> {
        Box::pin(Self::assemble(config, spans))
    }

    async fn assemble(config: WorkerConfig, spans: Spans) -> anyhow::Result<Self> {
        let origin = Instant::now();
        config.check()?;
        let store = ModelStore::open(&config.models_dir);
        let runtime = Arc::new(load_runtime(&config, &store)?);
        let (id, background) = (NodeId::mint("worker"), Shutdown::new());
        let bus = Bus::connect(&config.nats, id.as_str(), config.startup_patience).await?;
        let catalog = Catalog::open(&bus).await?.follow(&background).await?;
        let registry = Registry::new();
        let metrics = Arc::new(WorkerMetrics::register(&registry)?);
        metrics.session_threads.set(config.session_threads() as i64);
        let budget = CpuBudget::new(config.session_threads());
        let wanted = Wanted { threads: config.session_threads(), max_batch: config.max_batch };
        let bundles = Bundles::open(&bus).await?;
        let measured = Mutex::default();
        let loader = Loader { runtime, store, bundles, budget: budget.clone(), wanted, measured };
        let means = Means {
            config: Arc::new(config),
            cache: SharedCache::open(&bus, cache::LATEST).await?,
            vouched: Vouched::new(&bus),
            uploads: Uploads::open(&bus).await?,
            attempts: Attempts::open(&bus).await?,
            id,
            bus,
            metrics,
            spans,
            budget,
            origin,
        };
        background.spawn(means.cache.clone().follow(background.clone()));
        let ordered = match &means.config.served_models()[..] {
            [_] => watch::channel(None).1,
            _ => follow_orders(&means.bus, means.config.model.clone(), means.id.clone(), &background),
        };
        let followed = Followed { catalog, ordered };
        let (roll, changed) = (Roll::default(), Arc::new(Notify::new()));
        let mut holder = Holder::new(means.clone(), loader, followed, roll.clone(), changed.clone());
        let first = holder.load_first().await?;
        means.bus.check_permissions()?;
        Ok(Self { means, holder, first, roll, changed, registry, background })
    }

    /// Pulls, works and answers until shutdown is ordered and everything in hand is settled.
    pub fn run(self, shutdown: Shutdown) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { means, mut holder, first, roll, changed, registry, background } = self;
        let (ready, readiness) = watch::channel(false);
        let stop_admin = Shutdown::new();
        let listener = TcpListener::bind(&means.config.admin).await?;
        let admin = admin::serve(listener, registry, readiness, stop_admin.clone())?;
        let heart = Heart {
            id: means.id.clone(),
            admin: admin.to_string(),
            roll,
            metrics: means.metrics.clone(),
            started: means.origin,
            draining: Arc::default(),
            changed,
        };
        // Said before the first image: a worker that dies of one had started well all the same.
        notify::ready();
        holder.start_first(first).await?;
        let (bus, grace) = (means.bus.clone(), means.config.drain_grace);
        let heartbeat = heart.start(&bus, &stop_admin);
        means.metrics.startup_seconds.set(means.origin.elapsed().as_secs_f64());
        ready.send_replace(true);
        tracing::info!(admin = %admin, ready_after = ?means.origin.elapsed(), "worker ready");

        stop_admin.spawn(memory::give_back(stop_admin.clone()));
        let mut holding = tokio::spawn(holder.run(shutdown.clone()));
        let ended_early = tokio::select! {
            () = shutdown.ordered() => None,
            ended = &mut holding => Some(ended),
        };
        shutdown.order();
        ready.send_replace(false);
        heart.set_draining();
        tracing::info!("draining: no more pulls, finishing what is in hand");
        let drained = match ended_early {
            Some(ended) => Ok(ended),
            None => tokio::time::timeout(grace, &mut holding).await,
        };
        heart.say_goodbye(&bus).await;
        stop_admin.order();
        background.order();
        let _ = heartbeat.await;
        bus.flush().await;
        let Ok(ended) = drained else {
            anyhow::bail!("drain exceeded {grace:?}: what is still in hand will be delivered to another worker");
        };
        tracing::info!("drained");
        ended?
    }
}
