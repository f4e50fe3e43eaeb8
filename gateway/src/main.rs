//! `shoal-gateway`: the HTTP and NATS front doors.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use shoal_gateway::app::Gateway;
use shoal_gateway::config::GatewayConfig;
use shoal_shared::config;
use shoal_shared::process::shutdown::{Shutdown, signalled};
use shoal_shared::process::spans::Spans;
use shoal_shared::process::{EXIT_CONFIG, EXIT_SOFTWARE, EXIT_UNAVAILABLE, available_cores, follow_parent, telemetry};
use shoal_shared::process::{check, output};
use socket2::SockRef;
use tokio::net::TcpListener;

/// Connections that may wait to be accepted, as far as the kernel lets them (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "shoal-gateway", version, about = "Takes images, answers from cache or queue")]
struct Cli {
    /// Configuration file; table [gateway]
    #[arg(long, env = "SHOAL_CONFIG")]
    config: Option<PathBuf>,
    /// Listen on the socket that standard input is, instead of `--listen`: whoever passes it can start
    /// another gateway on the same socket, and no connection is refused in between
    #[arg(long)]
    inherit_listener: bool,
    /// Show the effective configuration and leave
    #[arg(long)]
    print_config: bool,
    /// Ask the gateway that listens at the configured address whether it is ready, and leave: 0 means yes
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(clap::Args, Serialize)]
struct Flags {
    /// Address to listen on
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Model used when a request names none
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_model: Option<String>,
    #[command(flatten)]
    auth: AuthFlags,
    #[command(flatten)]
    nats: NatsFlags,
}

#[derive(clap::Args, Serialize)]
struct AuthFlags {
    /// Create the account admin@example.com with the password `admin`, for old scripts
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    demo: bool,
}

#[derive(clap::Args, Serialize)]
struct NatsFlags {
    /// NATS server addresses, comma separated
    #[arg(long = "nats-url", env = "SHOAL_NATS_URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A health check is started by whatever enters the container, which may leave before it has its answer.
    if !cli.check {
        follow_parent();
    }
    telemetry::init();
    let config: GatewayConfig = match config::load("gateway", cli.config.as_deref(), &cli.flags) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    if cli.print_config {
        output::end_with_reader();
        print!("{}", config::print("gateway", &config));
        return ExitCode::SUCCESS;
    }
    if cli.check {
        return check::ready(config.listen);
    }
    let threads = if config.threads == 0 { available_cores() } else { config.threads };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let spans = match config.otlp_endpoint.as_deref().map(|endpoint| Spans::export(endpoint, "shoal-gateway")) {
        None => Spans::default(),
        Some(Ok(spans)) => spans,
        Some(Err(error)) => return fail(EXIT_CONFIG, &format!("gateway.otlp_endpoint: {error}")),
    };
    let code = match runtime {
        Ok(runtime) => runtime.block_on(run(config, spans.clone(), cli.inherit_listener)),
        Err(error) => fail(EXIT_SOFTWARE, &error),
    };
    spans.finish();
    code
}

async fn run(config: GatewayConfig, spans: Spans, inherit_listener: bool) -> ExitCode {
    // Before anything else, so that a taken port is the first and only complaint.
    let listener = match if inherit_listener { inherited() } else { TcpListener::bind(config.listen).await } {
        Ok(listener) => listener,
        Err(error) if inherit_listener => return fail(EXIT_CONFIG, &format!("standard input: {error}")),
        Err(error) => return fail(EXIT_UNAVAILABLE, &format!("cannot listen on {}: {error}", config.listen)),
    };
    // Whoever finds the queue full tries again after a second.
    if let Err(error) = SockRef::from(&listener).listen(BACKLOG) {
        tracing::warn!(%error, "the queue of connections stays short");
    }
    // Who may ask depends on who can reach it.
    let listen = listener.local_addr().unwrap_or(config.listen);
    let config = GatewayConfig { listen, ..config };
    let shutdown = Shutdown::new();
    let ordered = shutdown.clone();
    tokio::spawn(async move {
        signalled().await;
        ordered.order();
    });
    let built = tokio::select! {
        built = Gateway::build(config, spans, &shutdown) => built,
        () = shutdown.ordered() => return ExitCode::SUCCESS,
    };
    let gateway = match built {
        Ok(gateway) => gateway,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    match gateway.run(listener, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_SOFTWARE, &error),
    }
}

/// The listening socket that standard input is. It is taken from there: as long as anybody has it, clients can connect,
/// and during a drain nobody accepts.
fn inherited() -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("shoal-gateway: {error:#}");
    ExitCode::from(code)
}
