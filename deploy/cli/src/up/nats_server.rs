//! The NATS server that `shoal up` starts: JetStream on, data in the data folder, loopback only.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use shoal_shared::locate;
use shoal_shared::process::{available_cores, memory};

use super::free_port;
use super::keep::{Service, Services};

const CONFIG: &str = include_str!("../../../../nats/server.conf");

/// The Go runtime's threads: half of the cores. Here the server shares the machine with workers, and threads
/// beyond its part of the work wake each other up for nothing (a tenth to a quarter of its CPU time).
fn threads() -> Option<(&'static str, String)> {
    const NAME: &str = "GOMAXPROCS";
    let is_chosen = std::env::var_os(NAME).is_some();
    (!is_chosen).then(|| (NAME, (available_cores() / 2).max(1).to_string()))
}

/// How much the server's memory may grow before Go collects garbage, in percent of what is in use: twice Go's own
/// choice, for tens of megabytes. Most of what it keeps is in files.
fn garbage() -> Option<(&'static str, String)> {
    const NAME: &str = "GOGC";
    std::env::var_os(NAME).is_none().then(|| (NAME, "200".to_owned()))
}

/// Where that growth ends: at an eighth of the machine's memory, a gigabyte at least. Buffers of files that were read go
/// into a pool, and with a long queue there are many; but a limit that what is in use comes near to costs half of the
/// server's time, and a million messages with a subject of their own (cached predictions, outcomes, accepted jobs) take
/// 300 MB.
fn memory_limit() -> Option<(&'static str, String)> {
    const NAME: &str = "GOMEMLIMIT";
    const LEAST: u64 = 1 << 30;
    let limit = memory::total().map_or(LEAST, |total| (total / 8).max(LEAST));
    std::env::var_os(NAME).is_none().then(|| (NAME, limit.to_string()))
}

/// Go's monitor thread naps for 20 microseconds at a time as long as anything goes on: seven times for every image when
/// sessions have the cores, each time at their cost. It gets by with fewer looks: half of the server's switches and a
/// seventh of its CPU time go.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// Starts the server and gives its address.
pub(super) async fn start(services: &mut Services, data: &Path, port: u16) -> anyhow::Result<String> {
    let Some(program) = locate::nats_server() else {
        bail!(
            "nats-server was not found: run `make setup`, set {}, or name a running server with --nats-url",
            locate::NATS_SERVER_ENV
        );
    };
    let port = free_port(port, "NATS server")?;
    let config = data.join("nats-server.conf");
    std::fs::write(&config, CONFIG).with_context(|| config.display().to_string())?;
    let server = Service::new("nats-server", program)
        .env(threads())
        .env(garbage())
        .env(memory_limit())
        .timer_slack(TIMER_SLACK)
        .arg("--config")
        .arg(config.display())
        .arg("--addr")
        .arg("127.0.0.1")
        .arg("--port")
        .arg(port)
        .arg("--jetstream")
        .arg("--store_dir")
        .arg(data.join("nats").display());
    services.start(server)?;
    let address = format!("127.0.0.1:{port}");
    let up = async {
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = up => Ok(format!("nats://{address}")),
        error = services.broken() => Err(error),
        () = tokio::time::sleep(Duration::from_secs(20)) => {
            bail!("nats-server does not answer at {address}; its log: {}", services.logs().join("nats-server.log").display())
        }
    }
}
