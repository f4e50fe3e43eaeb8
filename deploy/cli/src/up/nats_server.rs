//! The NATS server that `shoal up` starts: JetStream on, data in the data folder, loopback only.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use shoal_shared::locate;

use super::free_port;
use super::keep::{Service, Services};

const CONFIG: &str = include_str!("../../../../nats/server.conf");

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
