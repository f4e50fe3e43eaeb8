//! Prometheus beside the fleet, when it is asked for and installed: it finds the gateway and its workers
//! by itself, and has the recording and alert rules that ship.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use shoal_shared::locate;

use super::free_port;
use super::keep::{Service, Services};

/// The port that Prometheus has by default.
const PORT: u16 = 9090;
/// Where the shipped configuration looks for the gateway.
const GATEWAY: &str = "127.0.0.1:8000";
/// Configuration and rules, as they ship.
const FILES: [(&str, &str); 3] = [
    ("prometheus.yml", include_str!("../../../../grafana/prometheus/prometheus.yml")),
    ("rules.yml", include_str!("../../../../grafana/prometheus/rules.yml")),
    ("alerts.yml", include_str!("../../../../grafana/prometheus/alerts.yml")),
];

/// Starts it; gives its address, or `None` when it is not installed.
pub(super) fn start(services: &mut Services, data: &Path, gateway: SocketAddr) -> anyhow::Result<Option<String>> {
    let Some(program) = locate::prometheus() else { return Ok(None) };
    let folder = data.join("prometheus");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, text) in FILES {
        let path = folder.join(name);
        std::fs::write(&path, text.replace(GATEWAY, &gateway.to_string()))
            .with_context(|| path.display().to_string())?;
    }
    let address = format!("127.0.0.1:{}", free_port(PORT, "Prometheus")?);
    let service = Service::new("prometheus", program)
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--storage.tsdb.retention.time=7d")
        .arg(format!("--web.listen-address={address}"));
    services.start(service)?;
    Ok(Some(format!("http://{address}/")))
}
