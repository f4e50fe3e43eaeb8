//! Everything is killed at random under load, and every accepted job is accounted for.
//!
//! `make test` runs the short form, `make chaos` the long ones. A run is repeated with
//! `SHOAL_CHAOS_SEED`; the balance sheet says which seed it was.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_testkit::bus::Streams;
use shoal_testkit::chaos::ledger::{Balance, Face, Kind, Ledger};
use shoal_testkit::chaos::load::Load;
use shoal_testkit::chaos::trouble::Troublemaker;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http::Client;
use shoal_testkit::models;

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
    let config = format!("[nats.topology]\nack_wait = \"1s\"\nmax_attempts = 3\nreplicas = {replicas}\n");
    let plan = FleetPlan { config, cluster, supervised: true, ..FleetPlan::default() };
    let mut fleet = Fleet::start(FleetPlan { model: "brittle".into(), models_dir: Some(models.into()), ..plan });
    fleet.serve_also("digits");
    (0..3).for_each(|_| fleet.add_worker());
    fleet.add_gateway();
    fleet.wait_ready(4);
    fleet
}

fn run(scenario: &Scenario) {
    let (seed, begun) = (seed(), Instant::now());
    let models = tempfile::tempdir().unwrap();
    let mut fleet = fleet(models.path(), scenario.cluster);
    let ledger = Arc::new(Ledger::default());
    let gateways = fleet.gateways.iter().map(|(_, url)| url.clone()).collect();
    let load = Load::start(gateways, &fleet.nats.url(), seed, ledger.clone());
    let mut maker = Troublemaker::new(seed, 1);
    while maker.troubles().kills() < scenario.kills || ledger.len() < scenario.jobs {
        maker.strike(&mut fleet);
    }
    println!("troubles {:?}", begun.elapsed());
    load.stop();
    println!("stop {:?}", begun.elapsed());
    fleet.wait_ready(4);
    println!("ready {:?}", begun.elapsed());
    collect(&fleet, &ledger);
    println!("collected {:?}", begun.elapsed());
    let balance = ledger.balance();
    let deaths = fleet.shoal(&["dead", "list"]);
    println!("\nchaos: seed {seed}, {:?}, {}\n{balance}\n", begun.elapsed(), maker.troubles());
    check(&fleet, &balance, &ledger, &deaths);
}

/// Waits for the outcome of everything that was accepted, and looks at each twice: in the stream and
/// through a gateway.
fn collect(fleet: &Fleet, ledger: &Ledger) {
    let (streams, client) = (Streams::connect(&fleet.nats.url()), Client::new());
    let mut open: Vec<usize> = (0..ledger.len()).collect();
    let entries = ledger.entries();
    let patience = Instant::now() + Duration::from_secs(120);
    while !open.is_empty() && Instant::now() < patience {
        println!("open {}", open.len());
        open.retain(|&place| {
            let Some(id) = &entries[place].id else { return false };
            let outcome = match entries[place].kind {
                Kind::Async => {
                    let gateway = &fleet.gateways[place % fleet.gateways.len()].1;
                    client.try_get(&format!("{gateway}/jobs/{id}")).unwrap().json()["result"].clone()
                }
                Kind::Sync | Kind::Published => streams.result(id),
            };
            let Some(face) = Face::of(&outcome) else { return true };
            ledger.show(place, face);
            if let Some(face) = Face::of(&streams.result(id)) {
                ledger.show(place, face);
            }
            false
        });
    }
}

fn check(fleet: &Fleet, balance: &Balance, ledger: &Ledger, deaths: &str) {
    assert!(balance.faults.is_empty(), "{:#?}", balance.faults);
    // Whoever was told that a job is dead finds its letter, and finds it once.
    for entry in ledger.entries().iter().filter(|entry| entry.faces == [Face::Dead]) {
        let Some(id) = &entry.id else { continue };
        assert_eq!(deaths.matches(id.as_str()).count(), 1, "{id} in\n{deaths}");
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
#[ignore = "minutes: run by `make chaos`"]
fn long_on_one_server() {
    run(&Scenario { cluster: false, jobs: 15_000, kills: 80 });
}

#[test]
#[ignore = "minutes: run by `make chaos`"]
fn long_on_a_cluster_that_loses_its_leader() {
    run(&Scenario { cluster: true, jobs: 8_000, kills: 40 });
}
