//! Everything is killed at random under load, and every accepted job is accounted for.
//!
//! `make test` runs the short form, `make chaos` the long ones. A run is repeated with
//! `SHOAL_CHAOS_SEED`; the balance sheet says which seed it was.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shoal_testkit::bus::Streams;
use shoal_testkit::chaos::collect::collect;
use shoal_testkit::chaos::ledger::{Balance, Entry, Face, Kind, Ledger};
use shoal_testkit::chaos::load::Load;
use shoal_testkit::chaos::trouble::{Troublemaker, leader, wait_until_whole};
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http::Client;
use shoal_testkit::nats::NatsServer;
use shoal_testkit::{eventually, images, models};

struct Scenario {
    cluster: bool,
    jobs: usize,
    kills: u32,
}

fn seed() -> u64 {
    let given = std::env::var("SHOAL_CHAOS_SEED").ok();
    given.map_or_else(|| fastrand::u64(..) >> 32, |seed| seed.parse().expect("SHOAL_CHAOS_SEED is a number"))
}

/// Three workers for digits that may be killed, and a supervised one for images that kill it.
fn fleet(models: &std::path::Path, cluster: bool) -> Fleet {
    models::add_brittle(models);
    let replicas = if cluster { 3 } else { 1 };
    // Nobody starts these processes again when a cluster takes long to elect its leaders.
    let config = format!(
        r#"
        [nats.topology]
        ack_wait = "1s"
        max_attempts = 3
        replicas = {replicas}

        [gateway]
        startup_patience = "60s"

        [worker]
        startup_patience = "60s"
        "#
    );
    let nats_before = std::env::var_os("SHOAL_OLD_NATS_SERVER").map(Into::into);
    let plan = FleetPlan { config, cluster, nats_before, supervised: true, ..FleetPlan::default() };
    let mut fleet = Fleet::start(FleetPlan { model: "brittle".into(), models_dir: Some(models.into()), ..plan });
    fleet.serve_also("digits");
    (0..3).for_each(|_| fleet.add_worker());
    fleet.add_gateway();
    fleet.wait_ready(4);
    fleet
}

fn run(scenario: &Scenario) {
    account(scenario.cluster, |fleet, ledger, seed| {
        let mut maker = Troublemaker::new(seed, 1);
        while maker.troubles().kills() < scenario.kills || ledger.len() < scenario.jobs {
            maker.strike(fleet);
        }
        maker.troubles().to_string()
    });
}

/// Loads a fleet while `trouble` happens to it, and accounts for every job. `trouble` gives what it did.
fn account(cluster: bool, trouble: impl FnOnce(&mut Fleet, &Ledger, u64) -> String) {
    let (seed, begun) = (seed(), Instant::now());
    let models = tempfile::tempdir().unwrap();
    let mut fleet = fleet(models.path(), cluster);
    let ledger = Arc::new(Ledger::default());
    let gateways = fleet.gateways.iter().map(|(_, url)| url.clone()).collect();
    let load = Load::start(gateways, &fleet.nats.url(), seed, ledger.clone());
    let done = trouble(&mut fleet, &ledger, seed);
    load.stop();
    fleet.wait_ready(4);
    let gateways: Vec<_> = fleet.gateways.iter().map(|(_, url)| url.clone()).collect();
    collect(&gateways, &fleet.nats.url(), &ledger);
    let balance = ledger.balance();
    let deaths = fleet.shoal(&["dead", "list"]);
    println!("\nchaos: seed {seed}, {:?}, {done}\n{balance}\n", begun.elapsed());
    check(&fleet, &balance, &ledger, &deaths);
}

fn accepts(jobs: usize, ledger: &Ledger) {
    let enough = ledger.len() + jobs;
    eventually("jobs are accepted", || ledger.len() >= enough);
}

fn check(fleet: &Fleet, balance: &Balance, ledger: &Ledger, deaths: &str) {
    assert!(balance.faults.is_empty(), "{:#?}", balance.faults);
    // Whoever was told that a job is dead finds its letter, and finds it once.
    for entry in ledger.entries().iter().filter(|entry| entry.faces == [Face::Dead]) {
        let Some(id) = &entry.id else { continue };
        let letters = deaths.lines().filter(|line| line.split_whitespace().nth(1) == Some(id)).count();
        assert_eq!(letters, 1, "{id} in\n{deaths}");
    }
    let streams = Streams::connect(&fleet.nats.url());
    let patience = Instant::now() + Duration::from_secs(30);
    while streams.messages("JOBS") != Some(0) {
        assert!(Instant::now() < patience, "jobs are left in the queue: {}", streams.describe("JOBS"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn nothing_accepted_is_lost_whatever_is_killed() {
    run(&Scenario { cluster: false, jobs: 1500, kills: 12 });
}

#[test]
fn a_cluster_loses_a_server_and_no_job() {
    account(true, |fleet, ledger, _| {
        accepts(100, ledger);
        wait_until_whole(fleet);
        let lost = leader(fleet).unwrap();
        fleet.nats.kill_node(lost);
        accepts(200, ledger);
        fleet.nats.restart_node(lost);
        wait_until_whole(fleet);
        accepts(100, ledger);
        format!("server {} of three killed, later started again", lost + 1)
    });
}

/// Each server in turn in lame duck mode, gone, and started again, as an upgrade does it: from the release that
/// `SHOAL_OLD_NATS_SERVER` names to the one that `make setup` fetches.
#[test]
#[ignore = "minutes: run by `make chaos`"]
fn long_upgrade_of_a_cluster_server_by_server() {
    account(true, |fleet, ledger, _| {
        for server in 0..3 {
            accepts(200, ledger);
            wait_until_whole(fleet);
            fleet.nats.signal_node(server, Signal::USR2);
            fleet.nats.replace_node(server);
        }
        wait_until_whole(fleet);
        accepts(200, ledger);
        "three servers replaced, one after the other".to_owned()
    });
}

#[test]
#[ignore = "minutes: run by `make chaos`"]
fn long_on_one_server() {
    run(&Scenario { cluster: false, jobs: 15_000, kills: 80 });
}

#[test]
#[ignore = "minutes: run by `make chaos`"]
fn long_on_a_cluster_that_loses_its_leader() {
    run(&Scenario { cluster: true, jobs: 8_000, kills: 40 });
}

/// Needs the right to mount: `make chaos` runs it in a namespace of its own.
#[test]
#[ignore = "mounts a small disk: run by `make chaos`"]
fn a_full_disk_refuses_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let mount = |options: &str| {
        let status =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "shoal"]).arg(&store).status();
        assert!(status.unwrap().success(), "cannot mount here: run `make chaos`");
    };
    mount("size=48m");
    let mut fleet = Fleet::start_on(NatsServer::start_on(dir), FleetPlan::default());
    fleet.workers[0].kill();

    let ledger = Ledger::default();
    let client = Client::new();
    let mut refused = 0;
    for number in 0..400 {
        let answer = client.try_post(&fleet.url("/jobs?timeout_ms=600000"), &[], &images::noise(300, number)).unwrap();
        match answer.status {
            202 => {
                let id = Some(answer.json()["id"].as_str().unwrap().to_owned());
                let expected = Some(String::new());
                ledger.accept(Entry { kind: Kind::Async, id, expected, faces: Vec::new() });
            }
            429 | 503 => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refused += 1;
                if refused == 20 {
                    break;
                }
            }
            _ => panic!("{answer:?}"),
        }
    }
    println!("{} jobs accepted until the disk was full, then {refused} refused", ledger.len());
    assert!(ledger.len() > 50 && refused == 20);

    // The operator makes room and starts the server again; the workers do the rest.
    mount("remount,size=512m");
    fleet.nats.restart();
    fleet.add_worker();
    fleet.wait_ready(1);
    let streams = Streams::connect(&fleet.nats.url());
    let entries = ledger.entries();
    for entry in &entries {
        let id = entry.id.as_deref().unwrap();
        eventually("every accepted job has its outcome", || streams.result(id)["success"] == true);
    }
    println!("all {} have their prediction", entries.len());
    drop(fleet);
    let _ = std::process::Command::new("umount").arg(&store).status();
}
