//! Agents on several addresses: started together, added up without loss, and missed when they are
//! killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

mod practising;

use std::path::Path;
use std::process::Command;

use practising::Practising;
use serde_json::Value;
use shoal_loadtest::practice::Behaviour;
use shoal_testkit::eventually;
use shoal_testkit::nats::NatsServer;
use shoal_testkit::process::{Process, binary};

fn agent(nats: &NatsServer, name: &str, source: &str) -> Process {
    let mut command = Command::new(binary("shoal-loadtest"));
    command.args(["agent", "--nats-url", &nats.url(), "--name", name, "--source", source]);
    Process::start(&mut command, &nats.dir().join(format!("{name}.log")))
}

fn coordinate(nats: &NatsServer, server: &Practising, scenario: &str) -> Process {
    let path = nats.dir().join("scenario.toml");
    std::fs::write(&path, scenario).unwrap();
    let mut command = Command::new(binary("shoal-loadtest"));
    command.arg("coordinate").arg(&path).args(["--nats-url", &nats.url(), "--agents", "2", "--quiet", "--out"]);
    command.arg(nats.dir().join("out")).args(["--url", &server.url()]);
    Process::start(&mut command, &nats.dir().join("coordinator.log"))
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("out/report.json")).unwrap()).unwrap()
}

fn scenario(rate: u32, seconds: u32) -> String {
    format!(
        "title = 'agents'\n[arrivals]\nspacing = 'constant'\n[[task]]\nname = 'predict'\npath = '/predict'\n\
         upload = 'raw'\n[[phase]]\nduration = '{seconds}s'\nrate = {rate}\n"
    )
}

#[test]
fn several_addresses_are_one_run() {
    let nats = NatsServer::start();
    let server = Practising::start(Behaviour { delay: "30ms-90ms".parse().unwrap(), ..Behaviour::default() });
    let _agents = [agent(&nats, "one", "127.0.0.2"), agent(&nats, "two", "127.0.0.3")];
    let mut coordinator = coordinate(&nats, &server, &scenario(100, 4));
    assert!(coordinator.wait().success(), "{}", coordinator.log());
    let (report, account) = (report(nats.dir()), server.account());

    assert_eq!(report["total"]["requests"], 400);
    assert_eq!(report["total"]["failed"], 0, "{}", report["total"]["kinds"]);
    let warm_up = report["generator"]["warm_up"].as_u64().unwrap();
    assert_eq!(account["predictions"].as_u64().unwrap(), 400 + warm_up);
    let agents = report["generator"]["agents"].as_array().unwrap();
    assert_eq!(agents.iter().map(|agent| agent["requests"].as_u64().unwrap()).collect::<Vec<_>>(), [200, 200]);
    assert!(agents.iter().all(|agent| agent["lost_at"].is_null()));
    // Both send in every second: the start was the same.
    let seconds = report["series"].as_array().unwrap();
    assert!(seconds.iter().take(4).all(|second| second["answered"].as_u64().unwrap() > 60), "{seconds:?}");
    assert_eq!(server.sources(), ["127.0.0.2", "127.0.0.3"]);
    // Merged histograms, against the server's own account of all delays.
    let (measured, truth) = (&report["total"]["latency"]["p90_ms"], &account["took"]["p90_ms"]);
    let off = (measured.as_f64().unwrap() - truth.as_f64().unwrap()).abs();
    let lag = report["generator"]["lag_p99_ms"].as_f64().unwrap();
    assert!(off < 0.02 * truth.as_f64().unwrap() + 4.0 + 2.0 * lag, "{measured} and {truth}");
}

#[test]
fn a_lost_agent_is_noticed_and_said() {
    let nats = NatsServer::start();
    let server = Practising::start(Behaviour::default());
    let _stays = agent(&nats, "stays", "127.0.0.2");
    let mut leaves = agent(&nats, "leaves", "127.0.0.3");
    let mut coordinator = coordinate(&nats, &server, &scenario(50, 10));
    eventually("the run goes on", || server.account()["predictions"].as_u64().unwrap() > 100);
    leaves.kill();
    assert!(coordinator.wait().success(), "{}", coordinator.log());
    let report = report(nats.dir());
    let agents = report["generator"]["agents"].as_array().unwrap();
    let lost: Vec<_> = agents.iter().filter(|agent| !agent["lost_at"].is_null()).collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0]["name"], "leaves");
    assert!(report["verdict"].to_string().contains("Agent leaves was lost"), "{}", report["verdict"]);
    let of = |name: &str| agents.iter().find(|agent| agent["name"] == name).unwrap()["requests"].as_u64().unwrap();
    assert_eq!(of("stays"), 250);
    assert!(of("leaves") < 250);
}

#[test]
fn agents_that_do_not_come_are_counted() {
    let nats = NatsServer::start();
    let server = Practising::start(Behaviour::default());
    let _agent = agent(&nats, "alone", "127.0.0.2");
    let path = nats.dir().join("scenario.toml");
    std::fs::write(&path, scenario(10, 1)).unwrap();
    let output = Command::new(binary("shoal-loadtest"))
        .arg("coordinate")
        .arg(&path)
        .args(["--nats-url", &nats.url(), "--agents", "2", "--patience", "2", "--url", &server.url()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("1 of 2 agents came within 2 s"), "{said}");
}
