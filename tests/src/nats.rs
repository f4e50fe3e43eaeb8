//! A real nats-server with a store of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use shoal_shared::locate;
use tempfile::TempDir;

use crate::eventually;
use crate::process::{Process, repository};

/// A server; gone with its store when dropped.
pub struct NatsServer {
    process: Process,
    port: u16,
    dir: TempDir,
}

impl NatsServer {
    /// Starts a server on a port of the system's choice, with the configuration that ships.
    pub fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let process = launch(dir.path(), "-1");
        let port = port_of(dir.path(), process.pid());
        let server = Self { process, port, dir };
        server.wait_until_up();
        server
    }

    /// Client address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same port and store.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(self.dir.path(), &self.port.to_string());
        self.wait_until_up();
    }

    /// A folder that lives as long as the server.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Configuration that fleets on this server share, once one was written.
    pub fn config(&self) -> Option<PathBuf> {
        Some(self.dir().join("shoal.toml")).filter(|path| path.exists())
    }

    fn wait_until_up(&self) {
        eventually("nats-server accepts connections", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }
}

fn launch(dir: &Path, port: &str) -> Process {
    let program = locate::nats_server().expect("nats-server: run `make setup` first");
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(repository().join("nats/server.conf"))
        .args(["--addr", "127.0.0.1", "--port", port, "--jetstream"])
        .arg("--store_dir")
        .arg(dir.join("store"))
        .arg("--ports_file_dir")
        .arg(dir);
    Process::start(&mut command, &dir.join("nats-server.log"))
}

/// The server writes the port it got into a file named after itself and its process.
fn port_of(dir: &Path, pid: u32) -> u16 {
    let file: PathBuf = dir.join(format!("nats-server_{pid}.ports"));
    let mut port = None;
    eventually("nats-server writes its port", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let ports: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let address = ports["nats"][0].as_str().unwrap_or_default();
        port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        port.is_some()
    });
    port.unwrap()
}
