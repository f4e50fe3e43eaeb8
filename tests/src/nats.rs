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
    setup: Setup,
    dir: TempDir,
}

/// The configuration file that servers start with, and their environment.
#[derive(Clone)]
pub struct Setup {
    /// Of the project's `nats/`, or a copy of it elsewhere.
    pub config: PathBuf,
    /// What the configuration takes from the environment.
    pub env: Vec<(&'static str, PathBuf)>,
    /// The program, when it is not the one that `make setup` fetches.
    pub program: Option<PathBuf>,
}

impl Setup {
    /// One of those that ship.
    pub fn shipped(config: &str) -> Self {
        Self { config: repository().join("nats").join(config), env: Vec::new(), program: None }
    }
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
        Self::start_as(dir, Setup::shipped("server.conf"))
    }

    /// One server with a configuration of its own.
    pub fn start_as(dir: TempDir, setup: Setup) -> Self {
        let process = launch(dir.path(), &setup, "-1");
        let port = port_of(dir.path(), process.pid());
        let server = Self { nodes: vec![Node { process, port }], ports: Vec::new(), setup, dir };
        server.wait_until_up();
        server
    }

    /// Three servers that replicate, with the cluster configuration that ships.
    pub fn cluster() -> Self {
        Self::cluster_of(None)
    }

    /// The same of another release, until each is replaced.
    pub fn cluster_of(program: Option<PathBuf>) -> Self {
        Self::cluster_as(TempDir::new().unwrap(), Setup { program, ..Setup::shipped("cluster.conf") })
    }

    /// Three servers with a configuration of their own.
    pub fn cluster_as(dir: TempDir, setup: Setup) -> Self {
        let ports = free_ports(9);
        let node = |index| Node { process: launch_node(dir.path(), &setup, &ports, index), port: ports[index] };
        let server = Self { nodes: (0..3).map(node).collect(), ports, setup, dir };
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
            launch(dir, &self.setup, &self.nodes[index].port.to_string())
        } else {
            launch_node(dir, &self.setup, &self.ports, index)
        };
        self.wait_until_up();
    }

    /// Sends a signal to one server.
    pub fn signal_node(&self, index: usize, signal: Signal) {
        self.nodes[index].process.signal(signal);
    }

    /// Waits until a server that was told to leave is gone, and starts it again: the one that `make setup` fetches.
    pub fn replace_node(&mut self, index: usize) {
        self.nodes[index].process.wait();
        self.setup.program = None;
        self.restart_node(index);
    }

    /// What a server has printed so far.
    pub fn log(&self, index: usize) -> String {
        self.nodes[index].process.log()
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

fn server(setup: &Setup) -> Command {
    let program = setup.program.clone().or_else(locate::nats_server);
    let mut command = Command::new(program.expect("nats-server: run `make setup` first"));
    command.arg("--config").arg(&setup.config).args(["--addr", "127.0.0.1"]).envs(setup.env.iter().cloned());
    command
}

fn launch(dir: &Path, setup: &Setup, port: &str) -> Process {
    let mut command = server(setup);
    command.args(["--port", port, "--jetstream", "--store_dir"]).arg(dir.join("store"));
    command.arg("--ports_file_dir").arg(dir);
    Process::start(&mut command, &dir.join("nats-server.log"))
}

fn launch_node(dir: &Path, setup: &Setup, ports: &[u16], index: usize) -> Process {
    let routes: Vec<_> = ports[3..6].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut command = server(setup);
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
