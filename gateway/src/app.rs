//! One gateway: its parts built, run, drained.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use prometheus::Registry;
use shoal_nats::Bus;
use shoal_nats::cache::{self, MemoryStats, SharedCache};
use shoal_nats::catalog::Catalog;
use shoal_nats::claims::Claims;
use shoal_nats::peers::Peers;
use shoal_nats::presence::Fleet;
use shoal_nats::register::Register;
use shoal_nats::replies::Replies;
use shoal_nats::service::PredictService;
use shoal_nats::uploads::Uploads;
use shoal_shared::names::NodeId;
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::process::spans::Spans;
use shoal_shared::process::{memory, notify};
use tokio::net::TcpListener;
use tokio::task::block_in_place;

use crate::accounts::Accounts;
use crate::cache::MemoryCache;
use crate::config::GatewayConfig;
use crate::http::door::Door;
use crate::http::tls::Tls;
use crate::http::{Front, Serving};
use crate::keeper::Keeper;
use crate::metrics::GatewayMetrics;
use crate::models::{Models, guard};
use crate::predict::{Parts, Predictor, Source};
use crate::webhooks::Webhooks;
use crate::{admission, attribution, http, micro};

/// How long a gateway waits for the workers' answer to its roll call before it takes requests.
const ROLL_CALL: Duration = Duration::from_millis(500);

/// A gateway that is built and not yet listening.
///
/// Its futures are boxed where they leave the crate: unboxed ones would be compiled once more in every
/// binary and test that polls them.
pub struct Gateway {
    config: GatewayConfig,
    bus: Bus,
    front: Front,
    tls: Option<Tls>,
    catalog: Catalog,
    service: PredictService,
    registry: Registry,
}

impl Gateway {
    /// Connects and subscribes. Creates nothing on the bus. What it listens to in the background
    /// ends with `shutdown`.
    pub fn build(config: GatewayConfig, spans: Spans, shutdown: &Shutdown) -> BoxFuture<'_, anyhow::Result<Self>> {
        Box::pin(Self::assemble(config, spans, shutdown))
    }

    async fn assemble(config: GatewayConfig, spans: Spans, shutdown: &Shutdown) -> anyhow::Result<Self> {
        config.check()?;
        let registry = Registry::new();
        let metrics = Arc::new(GatewayMetrics::register(&registry)?);
        let id = NodeId::mint("gateway");
        let bus = Bus::connect(&config.nats, id.as_str(), config.startup_patience).await?;
        let late = metrics.late_answers.clone();
        let replies = Replies::subscribe(&bus, id.clone(), move || late.inc()).await?;
        let peers = Peers::join(&bus, id, shutdown).await?;
        let claims = Claims::new(&bus, &peers);
        shutdown.spawn(claims.clone().answer(shutdown.clone()));
        let fleet = Fleet::watch(&bus, shutdown).await?;
        let catalog = Catalog::open(&bus).await?;
        let versions = catalog.follow(shutdown).await?;
        let models = Models::new(bus.clone(), fleet, versions, config.default_model.clone(), config.rollout);
        let predictor = Predictor::new(Parts {
            shared: SharedCache::open(&bus, cache::ALL).await?,
            uploads: Uploads::open(&bus).await?,
            memory: MemoryCache::new(&config.cache, metrics.evictions.clone()),
            config: config.clone(),
            bus: bus.clone(),
            replies,
            models,
            metrics,
            peers,
            claims,
            register: Register::open(&bus).await?,
            spans,
        });
        // Two parts of the process encrypt, and each would choose a provider of its own.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = Tls::load(&config)?;
        let accounts = Accounts::open(&bus, &config).await?;
        let keeper = Keeper::open(&bus, config.keep_images).await?;
        let service = PredictService::start(&bus).await?;
        let front = Front { predictor, accounts, keeper };
        Ok(Self { config, bus, front, tls, catalog, service, registry })
    }

    /// Serves until shutdown is ordered and what is in flight has been answered.
    pub fn run(self, listener: TcpListener, shutdown: Shutdown) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(self.serve(listener, shutdown))
    }

    async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
        let Front { predictor, accounts, .. } = self.front.clone();
        let address = listener.local_addr()?;
        let shared = predictor.parts().shared.clone();
        shutdown.spawn(shared.clone().follow(shutdown.clone()));
        // Workers answer the roll call at once; a request in between would be told that there are none. And what they
        // have computed before would be computed again.
        let known = async { tokio::join!(predictor.models().fleet().until_any_ready(), shared.listed()) };
        let _ = tokio::time::timeout(ROLL_CALL, known).await;
        self.bus.check_permissions()?;
        tracing::info!(%address, nats = self.bus.url(), "gateway listening");
        notify::ready();
        let routes = http::routes(&self.front, self.registry);
        shutdown.spawn(micro::run(self.service, predictor.clone(), shutdown.clone()));
        serve_fleet(&self.bus, &predictor, &shutdown);
        shutdown.spawn(memory::give_back(shutdown.clone()));
        shutdown.spawn(accounts.rates().clone().run(self.bus.clone(), shutdown.clone()));
        shutdown.spawn(guard::run(predictor.clone(), self.catalog, shutdown.clone()));
        let webhooks = Webhooks::new(predictor, accounts.clone())?;
        shutdown.spawn(webhooks.run(shutdown.clone()));
        if let Some(tls) = self.tls.clone() {
            shutdown.spawn(tls.follow(shutdown.clone()));
        }
        let serving = Serving {
            door: Door::new(accounts, &self.config),
            tls: self.tls,
            max_connections: self.config.max_connections,
            header_timeout: self.config.header_timeout,
            grace: self.config.drain_grace,
        };
        http::serve(listener, routes, shutdown.clone(), serving).await;
        shutdown.finished().await;
        self.bus.flush().await;
        tracing::info!("drained");
        Ok(())
    }
}

/// What a gateway does for others: buries exhausted jobs, shares its flights, forgets and counts
/// cached predictions when told to.
fn serve_fleet(bus: &Bus, predictor: &Predictor, shutdown: &Shutdown) {
    let (undertaker, stop) = (bus.clone(), shutdown.clone());
    shutdown.spawn(async move { undertaker.run_undertaker(stop).await });

    let (sweeper, stop) = (bus.clone(), shutdown.clone());
    shutdown.spawn(async move { sweeper.run_sweeper(stop).await });

    shutdown.spawn(admission::poll(predictor.clone(), shutdown.clone()));
    shutdown.spawn(attribution::run(predictor.clone(), shutdown.clone()));

    let (scaling, judged, stop) = (bus.clone(), predictor.clone(), shutdown.clone());
    shutdown.spawn(async move {
        // Only of models that this gateway knows: nobody else may grow the metrics.
        let known = |model: &_| {
            judged.models().fleet().model(model).is_some() || judged.models().catalog().record(model).is_some()
        };
        let count = |model: &_, action: &str| {
            if known(model) {
                judged.metrics().fleet.decided(model, action);
            }
        };
        scaling.on_decisions(count, stop).await;
    });

    let (flights, stop) = (predictor.clone(), shutdown.clone());
    shutdown.spawn(async move {
        let peers = flights.peers().clone();
        let news = move |key| {
            let flights = flights.clone();
            async move { flights.flight_news(&key).await }
        };
        peers.answer(news, stop).await;
    });

    let (listening, memory, stop) = (bus.clone(), predictor.memory().clone(), shutdown.clone());
    // It goes through a hundred thousand predictions.
    let forget = move |model: Option<&str>| block_in_place(|| memory.forget(model));
    shutdown.spawn(async move { listening.on_forget(forget, stop).await });

    let (counting, counted, stop) = (bus.clone(), predictor.clone(), shutdown.clone());
    shutdown.spawn(async move {
        let stats = || {
            let (entries, bytes) = counted.memory().size();
            MemoryStats {
                gateway: counted.peers().me().clone(),
                entries,
                bytes,
                answered: Source::ALL.map(|s| counted.metrics().predictions.with_label_values(&[s.as_str()]).get()),
            }
        };
        counting.on_memory_stats(stats, stop).await;
    });
}
