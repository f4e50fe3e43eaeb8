//! A real Prometheus with the configuration that ships.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use shoal_shared::locate;

use crate::process::{Process, repository};
use crate::{eventually, http};

/// Where configuration and rules are.
pub fn configuration() -> PathBuf {
    repository().join("grafana/prometheus")
}

/// A running Prometheus that scrapes one fleet.
pub struct Prometheus {
    /// Its address.
    pub url: String,
    _process: Process,
}

impl Prometheus {
    /// Starts with the shipped configuration; only the gateway's address is the fleet's. `None` when it
    /// is not installed.
    pub fn watch(gateway: &str, dir: &Path) -> Option<Self> {
        let program = locate::prometheus()?;
        for file in ["prometheus.yml", "rules.yml", "alerts.yml"] {
            let text = std::fs::read_to_string(configuration().join(file)).unwrap();
            std::fs::write(dir.join(file), text.replace("http://127.0.0.1:8000", gateway)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start(&mut command, &dir.join("prometheus.log"));
        let url = format!("http://127.0.0.1:{port}");
        eventually("Prometheus is ready", || http::is_ok(&format!("{url}/-/ready")));
        Some(Self { url, _process: process })
    }

    /// The series that an expression gives now: labels and value.
    pub fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = http::get(&format!("{}/api/v1/query?query={encoded}", self.url)).json();
        assert_eq!(answer["status"], "success", "{answer}");
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
        series.iter().map(|series| (series["metric"].clone(), value(series))).collect()
    }
}
