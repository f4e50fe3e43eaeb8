//! `shoal-worker`: one worker (`run`), or a supervised fleet of them on this host (`fleet`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use shoal_nats::BusError;
use shoal_shared::process::shutdown::{Shutdown, replacements, signalled};
use shoal_shared::process::spans::Spans;
use shoal_shared::process::{EXIT_CONFIG, EXIT_SOFTWARE, EXIT_UNAVAILABLE, follow_parent, telemetry};
use shoal_shared::{config, process};
use shoal_worker::app::Worker;
use shoal_worker::config::{Scale, WorkerConfig};
use shoal_worker::fleet::{Fleet, FleetPlan};
use shoal_worker::model::prepare_environment;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "shoal-worker", version, about = "Pulls image jobs, runs the model, answers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One worker
    Run(Options),
    /// Several workers on this host, restarted when they crash, drained when told to stop
    Fleet {
        #[command(flatten)]
        scale: Scale,
        #[command(flatten)]
        options: Options,
    },
    /// Ask the worker at the configured admin address whether it is ready, and leave: 0 means yes
    Check(Options),
}

#[derive(Args)]
struct Options {
    /// Configuration file; table [worker]
    #[arg(long, env = "SHOAL_CONFIG")]
    config: Option<PathBuf>,
    /// Show the effective configuration and leave
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Serialize)]
struct Flags {
    /// Model to serve, or several, comma separated
    #[arg(long = "model", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
    /// Bytes that models may take in memory (0: half of this machine's)
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_budget: Option<u64>,
    /// Folder with models
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    models_dir: Option<PathBuf>,
    /// Threads of the session (0: all cores, divided between the workers of a fleet)
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<usize>,
    /// Most images in one run of the session
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_batch: Option<usize>,
    /// Address of the admin server
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<String>,
    #[command(flatten)]
    nats: NatsFlags,
}

#[derive(Args, Serialize)]
struct NatsFlags {
    /// NATS server addresses, comma separated
    #[arg(long = "nats-url", env = "SHOAL_NATS_URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

fn main() -> ExitCode {
    if let Err(error) = prepare_environment() {
        return fail(EXIT_SOFTWARE, &error);
    }
    let cli = Cli::parse();
    let asks = matches!(cli.command, Command::Check(_));
    // A health check is started by whatever enters the container, which may leave before it has its answer.
    if !asks {
        follow_parent();
    }
    telemetry::init();
    let (options, scale) = match cli.command {
        Command::Run(options) | Command::Check(options) => (options, None),
        Command::Fleet { scale, options } => (options, Some(scale)),
    };
    let config = match load(&options, scale) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    if options.print_config {
        process::output::end_with_reader();
        print!("{}", config::print("worker", &config));
        return ExitCode::SUCCESS;
    }
    if asks {
        return match config.admin.parse() {
            Ok(address) => process::check::ready(address),
            Err(error) => fail(EXIT_CONFIG, &format!("worker.admin is {}: {error}", config.admin)),
        };
    }
    // Network only: everything that computes has threads of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_SOFTWARE, &error),
    };
    let spans = match config.otlp_endpoint.as_deref().map(|endpoint| Spans::export(endpoint, "shoal-worker")) {
        None => Spans::default(),
        Some(Ok(spans)) => spans,
        Some(Err(error)) => return fail(EXIT_CONFIG, &format!("worker.otlp_endpoint: {error}")),
    };
    match scale {
        None => {
            let code = runtime.block_on(run_worker(config, spans.clone()));
            spans.finish();
            code
        }
        Some(_) => runtime.block_on(run_fleet(FleetPlan { config, config_file: options.config })),
    }
}

fn load(options: &Options, scale: Option<Scale>) -> Result<WorkerConfig, config::ConfigError> {
    let mut config: WorkerConfig = config::load("worker", options.config.as_deref(), &options.flags)?;
    config.model = config.served_models().swap_remove(0);
    if let Some(scale) = scale {
        scale.apply(&mut config.scaling);
        config.scaling.check()?;
    }
    config.check()?;
    Ok(config)
}

async fn run_worker(config: WorkerConfig, spans: Spans) -> ExitCode {
    // Before anything that takes time: the first process of a container gets no signal that it has not asked for.
    let shutdown = stop_on_signal();
    tokio::task::yield_now().await;
    let built = tokio::select! {
        built = Worker::build(config, spans) => built,
        () = shutdown.ordered() => return ExitCode::SUCCESS,
    };
    let worker = match built {
        Ok(worker) => worker,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    tracing::info!(version = process::VERSION, pid = std::process::id(), "worker starting");
    match worker.run(shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_SOFTWARE, &error),
    }
}

async fn run_fleet(plan: FleetPlan) -> ExitCode {
    match Fleet::new(plan).run(stop_on_signal(), replacements()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<BusError>() => fail(EXIT_UNAVAILABLE, &error),
        Err(error) => fail(EXIT_SOFTWARE, &error),
    }
}

fn stop_on_signal() -> Shutdown {
    let shutdown = Shutdown::new();
    let ordered = shutdown.clone();
    tokio::spawn(async move {
        signalled().await;
        ordered.order();
    });
    shutdown
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("shoal-worker: {error:#}");
    ExitCode::from(code)
}
