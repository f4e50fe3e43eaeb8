//! `shoal up`: a whole fleet on this machine. NATS, gateway and workers are processes of their
//! own, restarted when they crash, drained in order when the fleet is told to stop.

mod banner;
mod keep;
mod model;
mod nats_server;
mod prometheus;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use shoal_nats::catalog::{Catalog, CatalogView};
use shoal_nats::presence::Fleet;
use shoal_shared::names::ModelName;
use shoal_shared::presence::WorkerStatus;
use shoal_shared::process::shutdown::{Shutdown, replacements, signalled};
use shoal_shared::say;
use shoal_shared::{config, locate};
use shoal_worker::config::{Scale, WorkerConfig};
use shoal_worker::fleet::Readiness;
use shoal_worker::model::ModelStore;

use crate::connect::NatsOptions;
use banner::Ready;
use keep::{Replacement, Service, Services};
use model::Chosen;

/// `shoal up`
#[derive(clap::Args)]
pub struct Options {
    /// Model to serve; `auto` takes the catalogue's ResNet-50 when it is there or can be had, and
    /// the embedded digit model otherwise. Several, comma separated: the first answers who names none
    #[arg(long = "model", value_delimiter = ',', default_value = "auto")]
    models: Vec<String>,
    /// Port of the gateway
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Address of the gateway
    #[arg(long, default_value = "127.0.0.1")]
    host: std::net::IpAddr,
    #[command(flatten)]
    scale: Scale,
    /// Use a NATS server that is running already
    #[arg(long, env = "SHOAL_NATS_URL")]
    nats_url: Option<String>,
    /// Configuration file; tables [nats], [gateway] and [worker]
    #[arg(long, env = "SHOAL_CONFIG")]
    config: Option<PathBuf>,
    /// Port of the NATS server that is started; a free one is taken when it is in use or 0
    #[arg(long, default_value_t = 4222)]
    nats_port: u16,
    /// Also start Prometheus, when it is installed
    #[arg(long)]
    observe: bool,
    /// Create the account admin@example.com with the password `admin`, for old scripts
    #[arg(long)]
    demo: bool,
    /// Folder for the queue, models and logs
    #[arg(long, default_value = ".shoal")]
    data_dir: PathBuf,
}

/// How long everything may take to become ready. Loading a large model is most of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until Ctrl-C, SIGTERM, or a part that keeps crashing.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let address = SocketAddr::new(options.host, options.port);
    let listener = listen(address)?;
    let address = listener.local_addr()?;
    let scale = options.scale()?;
    let data = prepare(&options.data_dir)?;
    if locate::onnxruntime().is_none() {
        bail!("ONNX Runtime was not found: run `make setup`, or set {} to libonnxruntime.so", locate::ORT_LIBRARY_ENV);
    }
    let _lock = lock(&data)?;
    let store = ModelStore::open(data.join("models"));
    let wishes = options.models.clone();
    let chosen = {
        let store = store.clone();
        let choose = move || wishes.iter().map(|wish| model::choose(wish, &store)).collect::<anyhow::Result<Vec<_>>>();
        tokio::task::spawn_blocking(choose).await??
    };
    let mut models: Vec<ModelName> = Vec::new();
    for Chosen { name, .. } in &chosen {
        if models.contains(name) {
            bail!("--model names {name} twice");
        }
        models.push(name.clone());
    }

    let shutdown = Shutdown::new();
    let mut services = Services::new(data.join("logs"))?;
    let plan = Plan { options: &options, scale, listener, data: &data, models: &models };
    let mut replacements = replacements();
    let outcome = tokio::select! {
        ready = plan.start(&mut services, &shutdown) => match ready {
            Ok(url) => {
                let prometheus = plan.observe(&mut services, address)?;
                services.all_ready();
                let fleet = Ready {
                    address,
                    nats: &url,
                    prometheus,
                    workers: scale,
                    data: &data,
                    demo: options.demo,
                };
                banner::print(&fleet, &chosen);
                let stop = signalled();
                tokio::pin!(stop);
                loop {
                    tokio::select! {
                        () = &mut stop => break Ok(()),
                        error = services.broken() => break Err(error),
                        Ok(()) = replacements.changed() => services.replace_all(),
                    }
                }
            }
            Err(error) => Err(error),
        },
        () = signalled() => Ok(()),
    };
    if outcome.is_ok() {
        say!("\nDraining: finishing what was accepted …");
    }
    shutdown.order();
    // With it the listening socket: who holds that lets clients connect.
    drop(plan);
    services.stop_all().await;
    if outcome.is_ok() {
        say!("Stopped.");
    }
    outcome
}

impl Options {
    /// Fewest and most workers: as configured, unless the command line says otherwise.
    fn scale(&self) -> anyhow::Result<(usize, usize)> {
        let config: WorkerConfig = config::load("worker", self.config.as_deref(), &serde_json::Map::new())?;
        let mut scaling = config.scaling;
        self.scale.apply(&mut scaling);
        if scaling.max == 0 {
            bail!("--workers or --max is 0: at least one worker is needed to answer anything");
        }
        scaling.check()?;
        Ok((scaling.min, scaling.max))
    }
}

/// Everything that starting a fleet depends on.
struct Plan<'a> {
    options: &'a Options,
    scale: (usize, usize),
    listener: TcpListener,
    data: &'a Path,
    /// The first one answers who names none.
    models: &'a [ModelName],
}

impl Plan<'_> {
    /// Brings everything up in order; gives the NATS address.
    async fn start(&self, services: &mut Services, shutdown: &Shutdown) -> anyhow::Result<String> {
        let url = match &self.options.nats_url {
            Some(url) => url.clone(),
            None => nats_server::start(services, self.data, self.options.nats_port).await?,
        };
        let nats = NatsOptions { config: self.options.config.clone(), nats_url: Some(url.clone()) };
        let bus = nats.connect("shoal-up").await?;
        bus.ensure(self.models).await.context("preparing streams")?;
        let catalog = Catalog::open(&bus).await?.follow(shutdown).await?;
        let fleet = Fleet::watch(&bus, shutdown).await?;
        // Stopped in the reverse order: the gateway first, while workers still answer.
        services.start(self.workers(&url)?)?;
        let gateway = services.start(self.gateway(&url)?)?;
        tokio::select! {
            () = self.ready(&fleet, &catalog, &gateway) => Ok(url),
            error = services.broken() => Err(error),
            () = tokio::time::sleep(PATIENCE) => bail!("not ready after {PATIENCE:?}; logs: {}", services.logs().display()),
        }
    }

    /// Prometheus, when it is wanted; a fleet without it is a fleet all the same.
    fn observe(&self, services: &mut Services, gateway: SocketAddr) -> anyhow::Result<Option<String>> {
        if !self.options.observe {
            return Ok(None);
        }
        let address = prometheus::start(services, self.data, gateway)?;
        if address.is_none() {
            say!("Prometheus was not found: install it, or run `deploy/setup.sh --observe`.");
        }
        Ok(address)
    }

    fn gateway(&self, url: &str) -> anyhow::Result<Service> {
        let demo = self.options.demo.then_some("--demo");
        Ok(Service::new("gateway", sibling("shoal-gateway")?)
            .listener(self.listener.try_clone()?)
            .replacement(Replacement::Successor)
            .arg("--inherit-listener")
            .arg("--nats-url")
            .arg(url)
            .arg("--default-model")
            .arg(&self.models[0])
            .args(demo.map(str::to_owned))
            .args(self.config()))
    }

    fn workers(&self, url: &str) -> anyhow::Result<Service> {
        Ok(Service::new("workers", sibling("shoal-worker")?)
            .replacement(Replacement::Within)
            .arg("fleet")
            .arg("--min")
            .arg(self.scale.0)
            .arg("--max")
            .arg(self.scale.1)
            .arg("--model")
            .arg(self.models.iter().map(ModelName::as_str).collect::<Vec<_>>().join(","))
            .arg("--models-dir")
            .arg(self.data.join("models").display())
            .arg("--nats-url")
            .arg(url)
            .args(self.config()))
    }

    fn config(&self) -> Vec<String> {
        let file = self.options.config.as_ref();
        file.map(|file| vec!["--config".to_owned(), file.display().to_string()]).unwrap_or_default()
    }

    async fn ready(&self, fleet: &Fleet, catalog: &CatalogView, gateway: &Readiness) {
        // A model that was pushed is served by the names of its versions.
        let serves = |worker: &WorkerStatus| {
            let versions = self.models.iter().flat_map(|model| catalog.served_names(model)).map(|(name, ..)| name);
            self.models.iter().cloned().chain(versions).any(|name| worker.serves(&name))
        };
        while fleet.workers().iter().filter(|worker| serves(worker)).count() < self.scale.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway.told().await;
    }
}

/// A port that is taken is the most common complaint: it comes before anything is started.
fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!("port {} is in use: choose another with --port", address.port()),
        _ => anyhow!("cannot listen on {address}: {error}"),
    })
}

/// The wanted port, or one that the system gives.
fn free_port(wanted: u16, whose: &str) -> anyhow::Result<u16> {
    if wanted != 0 && TcpListener::bind(("127.0.0.1", wanted)).is_ok() {
        return Ok(wanted);
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).with_context(|| format!("no free port for the {whose}"))?;
    let free = free.local_addr()?.port();
    if wanted != 0 {
        say!("Port {wanted} is in use; this fleet's {whose} listens on {free}.");
    }
    Ok(free)
}

fn prepare(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir.join("logs"))
        .with_context(|| format!("the data folder {} cannot be used", dir.display()))?;
    let data = dir.canonicalize()?;
    let probe = data.join(".writable");
    std::fs::write(&probe, b"shoal")
        .and_then(|()| std::fs::remove_file(&probe))
        .with_context(|| format!("the data folder {} cannot be written", data.display()))?;
    Ok(data)
}

/// Two fleets on one folder would share a queue's files: the second is refused.
fn lock(data: &Path) -> anyhow::Result<std::fs::File> {
    let path = data.join("lock");
    let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("another `shoal up` uses {}: choose another folder with --data-dir", data.display()),
    }
}

/// A binary of this release, beside this one.
fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: build everything with `cargo build --release --workspace --bins`", path.display());
    }
    Ok(path)
}
