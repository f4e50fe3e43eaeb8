//! One gateway: its parts built, run, drained.

use std::sync::Arc;

use prometheus::Registry;
use shoal_nats::Bus;
use shoal_nats::cache::SharedCache;
use shoal_nats::presence::Fleet;
use shoal_nats::replies::Replies;
use shoal_nats::service::PredictService;
use shoal_nats::uploads::Uploads;
use shoal_shared::names::NodeId;
use shoal_shared::process::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::cache::MemoryCache;
use crate::config::GatewayConfig;
use crate::metrics::GatewayMetrics;
use crate::models::Models;
use crate::predict::{Parts, Predictor};
use crate::{http, micro};

/// A gateway that is built and not yet listening.
pub struct Gateway {
    config: GatewayConfig,
    bus: Bus,
    predictor: Predictor,
    service: PredictService,
    registry: Registry,
}

impl Gateway {
    /// Connects and subscribes. Creates nothing on the bus. What it listens to in the background
    /// ends with `shutdown`.
    pub async fn build(config: GatewayConfig, shutdown: &Shutdown) -> anyhow::Result<Self> {
        config.check()?;
        let registry = Registry::new();
        let metrics = Arc::new(GatewayMetrics::register(&registry)?);
        let id = NodeId::mint("gateway");
        let bus = Bus::connect(&config.nats, id.as_str(), config.startup_patience).await?;
        let late = metrics.late_answers.clone();
        let replies = Replies::subscribe(&bus, id, move || late.inc()).await?;
        let fleet = Fleet::watch(&bus, shutdown).await?;
        let models = Models::new(bus.clone(), fleet, config.default_model.clone());
        let evictions = metrics.evictions.clone();
        let predictor = Predictor::new(Parts {
            shared: SharedCache::open(&bus).await?,
            uploads: Uploads::open(&bus).await?,
            memory: MemoryCache::new(&config.cache, move || evictions.inc()),
            config: config.clone(),
            bus: bus.clone(),
            replies,
            models,
            metrics,
        });
        let service = PredictService::start(&bus).await?;
        Ok(Self { config, bus, predictor, service, registry })
    }

    /// Serves until shutdown is ordered and what is in flight has been answered.
    pub async fn run(self, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        tracing::info!(%address, nats = self.bus.url(), "gateway listening");
        let routes = http::routes(self.predictor.clone(), self.registry);
        shutdown.spawn(micro::run(self.service, self.predictor, shutdown.clone()));
        let bus = self.bus.clone();
        let undertaker_stop = shutdown.clone();
        shutdown.spawn(async move { bus.run_undertaker(undertaker_stop).await });
        http::serve(listener, routes, shutdown.clone(), self.config.drain_grace).await;
        shutdown.finished().await;
        self.bus.flush().await;
        tracing::info!("drained");
        Ok(())
    }
}
