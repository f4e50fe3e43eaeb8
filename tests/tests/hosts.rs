//! A fleet over six hosts whose links are cut, slowed and healed under load: every job is accounted for.
//! Needs a network namespace: run by `make hosts`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use shoal_shared::locate;
use shoal_testkit::bus::Streams;
use shoal_testkit::chaos::collect::collect;
use shoal_testkit::chaos::ledger::Ledger;
use shoal_testkit::chaos::load::Load;
use shoal_testkit::hosts::{Host, Network};
use shoal_testkit::process::{Process, binary, repository};
use shoal_testkit::{eventually, http, models};

const SERVERS: [&str; 3] = ["n1", "n2", "n3"];
/// Other hosts reach the gateways: without a word they would ask for credentials.
const CONFIG: &str = r#"
[nats.topology]
replicas = 3
ack_wait = "2s"
max_attempts = 3

[gateway.auth]
mode = "off"
"#;

/// Three hosts with NATS, one with two gateways, two with supervised workers of two models.
struct Fleet {
    network: Network,
    nats_url: String,
    gateways: Vec<String>,
    streams: Streams,
    _processes: Vec<Process>,
}

impl Fleet {
    fn start(dir: &Path) -> Self {
        let network = Network::of(&["n1", "n2", "n3", "gateway", "worker-1", "worker-2"]);
        std::fs::write(dir.join("shoal.toml"), CONFIG).unwrap();
        models::add_brittle(&dir.join("models"));
        let mut processes: Vec<_> = SERVERS.iter().map(|name| server(&network, name, dir)).collect();
        let nats_url = SERVERS.map(|name| format!("nats://{}:4222", network.host(name).address)).join(",");
        let start = |host: &Host, program: &str, args: &[&str], name: &str| {
            let mut command = host.command(binary(program));
            command.args(args).args(["--nats-url", &nats_url]).env("SHOAL_CONFIG", dir.join("shoal.toml"));
            Process::start(command.current_dir(repository()), &dir.join(format!("{name}.log")))
        };
        eventually("streams are there", || {
            let mut provision = Command::new(binary("shoal"));
            provision.args(["provision", "--model", "digits", "--model", "brittle", "--nats-url", &nats_url]);
            provision.env("SHOAL_CONFIG", dir.join("shoal.toml")).status().unwrap().success()
        });
        let models_dir = dir.join("models").display().to_string();
        for host in ["worker-1", "worker-2"] {
            for model in ["digits", "brittle"] {
                let args = ["fleet", "--workers", "2", "--threads", "1", "--model", model, "--models-dir", &models_dir];
                processes.push(start(network.host(host), "shoal-worker", &args, &format!("{host}-{model}")));
            }
        }
        let gateway = network.host("gateway");
        let gateways = ["8000", "8001"].map(|port| format!("{}:{port}", gateway.address));
        for (number, address) in gateways.iter().enumerate() {
            let args = ["--listen", address, "--default-model", "digits"];
            processes.push(start(gateway, "shoal-gateway", &args, &format!("gateway-{number}")));
        }
        let gateways: Vec<_> = gateways.iter().map(|address| format!("http://{address}")).collect();
        let streams = Streams::connect(&nats_url);
        let fleet = Self { network, nats_url, gateways, streams, _processes: processes };
        fleet.wait_ready();
        fleet
    }

    fn wait_ready(&self) {
        for gateway in &self.gateways {
            eventually("every worker is heard", || {
                let ready = http::Client::new().try_get(&format!("{gateway}/readyz"));
                ready.is_ok_and(|ready| ready.json()["workers"] == 4)
            });
        }
    }

    fn leader(&self) -> String {
        let mut leader = None;
        eventually("the jobs have a leader", || {
            leader = self.streams.leader("JOBS");
            leader.is_some()
        });
        leader.unwrap()
    }

    fn wait_whole(&self) {
        for stream in ["JOBS", "RESULTS", "DEAD", "KV_shoal_jobs", "KV_shoal_attempts"] {
            eventually("every copy has caught up", || self.streams.is_whole(stream));
        }
    }
}

fn server(network: &Network, name: &str, dir: &Path) -> Process {
    let host = network.host(name);
    let routes = SERVERS.map(|name| format!("nats://{}:6222", network.host(name).address));
    let mut command = host.command(locate::nats_server().expect("nats-server: run `make setup` first"));
    command.arg("--config").arg(repository().join("nats/cluster.conf"));
    command.args(["--cluster", &format!("nats://{}:6222", host.address), "--routes", &routes.join(",")]);
    command.env("NODE", name).env("DATA", dir.join(name));
    Process::start(&mut command, &dir.join(format!("{name}.log")))
}

/// Lets so many jobs be accepted, and says how fast they were.
fn phase(what: &str, jobs: usize, ledger: &Ledger) {
    let (before, begun) = (ledger.len(), Instant::now());
    eventually(what, || ledger.len() >= before + jobs);
    println!("{what}: {:.0} jobs accepted a second", jobs as f64 / begun.elapsed().as_secs_f64());
}

#[test]
#[ignore = "makes network namespaces: run by `make hosts`"]
fn jobs_flow_on_while_hosts_are_cut_off_and_links_are_slow() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path());
    let network = &fleet.network;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(fleet.gateways.clone(), &fleet.nats_url, 7, ledger.clone());
    phase("all links whole", 400, &ledger);

    network.cut("worker-1");
    phase("a worker host is cut off", 600, &ledger);
    network.heal("worker-1");
    phase("it is back", 400, &ledger);

    network.slow("worker-2", "4mbit");
    phase("a worker host's link carries 4 Mbit/s", 400, &ledger);
    network.hasten("worker-2");

    fleet.wait_whole();
    let cut = fleet.leader();
    network.cut(&cut);
    phase("the NATS host that leads the jobs is cut off", 300, &ledger);
    network.heal(&cut);
    fleet.wait_whole();
    let slow = fleet.leader();
    network.slow(&slow, "20mbit");
    phase("the leading NATS host's link carries 20 Mbit/s", 300, &ledger);
    network.hasten(&slow);

    network.cut("gateway");
    std::thread::sleep(std::time::Duration::from_secs(3));
    network.heal("gateway");
    phase("the gateway host was away for three seconds", 300, &ledger);

    load.stop();
    fleet.wait_ready();
    collect(&fleet.gateways, &fleet.nats_url, &ledger);
    let balance = ledger.balance();
    println!("{balance}");
    assert!(balance.faults.is_empty(), "{:#?}", balance.faults);
    eventually("the queue is empty", || fleet.streams.messages("JOBS") == Some(0));
}
