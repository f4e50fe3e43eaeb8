//! Real nats-servers with stores of their own: one, or three that replicate.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use shoal_shared::locate;
use tempfile::TempDir;

use crate::eventually;
use crate::process::{Process, repository};

/// One server or a cluster; gone with its stores when dropped.
pub struct NatsServer {
    nodes: Vec<Node>,
    /// Of a cluster: three for clients, three for routes, three for monitoring.
    ports: Vec<u16>,
    dir: TempDir,
}

struct Node {
    process: Process,
    port: u16,
}

impl NatsServer {
    /// One server on a port of the system's choice, with the configuration that ships.
    pub fn start() -> Self {
        Self::start_on(TempDir::new().unwrap())
    }

    /// One server that keeps its store under `dir`.
    pub fn start_on(dir: TempDir) -> Self {
        let process = launch(dir.path(), "-1");
        let port = port_of(dir.path(), process.pid());
        let server = Self { nodes: vec![Node { process, port }], ports: Vec::new(), dir };
        server.wait_until_up();
        server
    }

    /// Three servers that replicate, with the cluster configuration that ships.
    pub fn cluster() -> Self {
        let dir = TempDir::new().unwrap();
        let ports = free_ports(9);
        let node = |index| Node { process: launch_node(dir.path(), &ports, index), port: ports[index] };
        let server = Self { nodes: (0..3).map(node).collect(), ports, dir };
        server.wait_until_up();
        server
    }

    /// Client addresses, comma separated.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect();
        urls.join(",")
    }

    /// Number of servers.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// SIGKILL to the first server.
    pub fn kill(&mut self) {
        self.kill_node(0);
    }

    /// SIGKILL.
    pub fn kill_node(&mut self, index: usize) {
        self.nodes[index].process.kill();
    }

    /// The first server starts again on the same port and store.
    pub fn restart(&mut self) {
        self.restart_node(0);
    }

    /// Starts again on the same port and store.
    pub fn restart_node(&mut self, index: usize) {
        self.kill_node(index);
        let dir = self.dir.path();
        self.nodes[index].process = if self.nodes.len() == 1 {
            launch(dir, &self.nodes[index].port.to_string())
        } else {
            launch_node(dir, &self.ports, index)
        };
        self.wait_until_up();
    }

    /// Sends a signal to one server.
    pub fn signal_node(&self, index: usize, signal: Signal) {
        self.nodes[index].process.signal(signal);
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
        for node in &self.nodes {
            eventually("nats-server accepts connections", || {
                std::net::TcpStream::connect(("127.0.0.1", node.port)).is_ok()
            });
        }
    }
}

fn server(config: &str) -> Command {
    let program = locate::nats_server().expect("nats-server: run `make setup` first");
    let mut command = Command::new(program);
    command.arg("--config").arg(repository().join("nats").join(config)).args(["--addr", "127.0.0.1"]);
    command
}

fn launch(dir: &Path, port: &str) -> Process {
    let mut command = server("server.conf");
    command.args(["--port", port, "--jetstream", "--store_dir"]).arg(dir.join("store"));
    command.arg("--ports_file_dir").arg(dir);
    Process::start(&mut command, &dir.join("nats-server.log"))
}

fn launch_node(dir: &Path, ports: &[u16], index: usize) -> Process {
    let routes: Vec<_> = ports[3..6].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut command = server("cluster.conf");
    command.env("NODE", format!("n{}", index + 1)).env("DATA", dir.join(format!("store-{index}")));
    command.args(["--port", &ports[index].to_string(), "--http_port", &ports[index + 6].to_string()]);
    command.args(["--cluster", &routes[index], "--routes", &routes.join(",")]);
    Process::start(&mut command, &dir.join(format!("nats-server-{index}.log")))
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
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
