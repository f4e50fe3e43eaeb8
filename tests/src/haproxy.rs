//! A real HAProxy with the configuration that ships.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::fleet::Fleet;
use crate::process::{Process, repository};
use crate::{eventually, http};

/// A running HAProxy in front of a fleet's gateways.
pub struct Haproxy {
    /// Its address for clients.
    pub url: String,
    stats: String,
    _process: Process,
}

/// HAProxy, if it can be found.
pub fn program() -> Option<PathBuf> {
    let tools = repository().join(".tools/bin/haproxy");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).map(|dir| dir.join("haproxy"));
    std::iter::once(tools).chain(path).find(|path| path.is_file())
}

impl Haproxy {
    /// Starts in front of the gateways that run now; `balance` is a backend of the configuration. `None` when it
    /// is not installed.
    pub fn start(fleet: &Fleet, balance: &str) -> Option<Self> {
        let program = program()?;
        let text = std::fs::read_to_string(repository().join("deploy/haproxy.cfg")).unwrap();
        let servers = |line: &str| {
            if !line.trim_start().starts_with("server-template") {
                return vec![line.to_owned()];
            }
            let gateways = (1..).zip(&fleet.gateways);
            gateways
                .map(|(n, (_, url))| format!("    server gateway-{n} {}", url.trim_start_matches("http://")))
                .collect()
        };
        let config = fleet.nats.dir().join(format!("haproxy-{balance}.cfg"));
        std::fs::write(&config, text.lines().flat_map(servers).map(|line| line + "\n").collect::<String>()).unwrap();
        let [port, stats] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [listen, stats] = [port, stats].map(|listener| listener.local_addr().unwrap().to_string());
        let mut command = Command::new(program);
        command.arg("-f").arg(&config).env("SHOAL_LISTEN", &listen);
        command.env("SHOAL_STATS", &stats).env("SHOAL_BALANCE", balance);
        let process = Process::start(&mut command, &fleet.nats.dir().join(format!("haproxy-{balance}.log")));
        let (url, stats) = (format!("http://{listen}"), format!("http://{stats}/;csv"));
        let haproxy = Self { url, stats, _process: process };
        eventually("HAProxy reaches every gateway", || haproxy.up(balance) == fleet.gateways.len());
        Some(haproxy)
    }

    /// Gateways of a backend that HAProxy takes for healthy.
    pub fn up(&self, backend: &str) -> usize {
        let Ok(page) = http::Client::new().try_get(&self.stats) else { return 0 };
        let text = String::from_utf8(page.body).unwrap();
        let is_up = |line: &&str| {
            let fields: Vec<&str> = line.split(',').collect();
            // Field 17 is the status; one that was checked and answered says UP and nothing more.
            fields[0] == backend && fields[1].starts_with("gateway-") && fields[17] == "UP" && fields[36] == "L7OK"
        };
        text.lines().filter(is_up).count()
    }
}
