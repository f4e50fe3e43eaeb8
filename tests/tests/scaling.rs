//! A fleet that scales itself: up while cores are free, down when it is quiet, to nothing and back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use shoal_loadtest::photograph;
use shoal_shared::process::available_cores;
use shoal_testkit::fleet::{Fleet, FleetPlan, metric};
use shoal_testkit::load::LoadPlan;
use shoal_testkit::{eventually, http, images, models};

/// Quick to shrink, so that a test sees it.
const QUICK: &str = "[worker.scaling]\nstabilisation = \"4s\"\nidle_before_zero = \"3s\"\n";

fn ready(fleet: &Fleet) -> usize {
    let workers = http::get(&fleet.url("/models")).json()["workers"].as_array().cloned().unwrap_or_default();
    workers.iter().filter(|worker| worker["state"] == "ready").count()
}

#[test]
fn it_grows_while_cores_are_free_says_why_it_stops_and_shrinks_again() {
    let cores = available_cores();
    let dir = tempfile::tempdir().unwrap();
    let model = models::add_resnet50(dir.path(), false);
    let plan = FleetPlan {
        model,
        models_dir: Some(dir.path().into()),
        scale: Some((1, 8)),
        config: QUICK.into(),
        ..FleetPlan::default()
    };
    let fleet = Fleet::start(plan);
    let image = dir.path().join("photograph.jpg");
    std::fs::write(&image, photograph::jpeg(500, 334, 58_000, 7).unwrap()).unwrap();
    // Seconds of work for all the cores, however fast they are today, and time to do it.
    let url = fleet.url("/predict?timeout_ms=60000");
    let load = LoadPlan { url: &url, image: &image, connections: 48, unique: true };
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load.run(25));
        if cores > 1 {
            eventually("another worker takes jobs", || ready(&fleet) > 1);
        }
        let summary: Value = loading.join().unwrap();
        // Nobody was let down on the way; on a slow machine some may be asked to come back.
        let outcomes = summary["outcomes"].as_object().unwrap();
        assert!(outcomes.keys().all(|outcome| ["ok", "refused"].contains(&outcome.as_str())), "{summary}");
    });
    assert!(ready(&fleet) <= cores, "{} workers of a thread each on {cores} cores", ready(&fleet));
    let told = fleet.shoal(&["fleet", "explain", "--last", "50"]);
    println!("{told}");
    assert!(told.contains("cpu saturated") || told.contains("expected gain 0 %"), "{told}");
    eventually("it has shrunk to one", || ready(&fleet) == 1);
    let told = fleet.shoal(&["fleet", "explain", "--last", "50"]);
    assert!(cores == 1 || told.contains(&format!("{cores} to 1")) || told.contains("2 to 1"), "{told}");
    assert!(metric(&fleet.url("/metrics"), "shoal_fleet_workers_wanted{model=\"resnet50-synth\"}") >= 1.0);
}

#[test]
fn to_nothing_and_back_with_the_first_request() {
    let fleet = Fleet::start(FleetPlan { scale: Some((0, 2)), config: QUICK.into(), ..FleetPlan::default() });
    // No worker has ever run: the gateway knows the model from its supervisor.
    eventually("the model is known", || http::get(&fleet.url("/models")).json()["models"][0]["name"] == "digits");
    let first = http::post(&fleet.url("/predict"), &[], &images::digit(3));
    assert_eq!((first.status, &first.json()["prediction"]), (200, &Value::from("3")), "{first:?}");
    for number in 0..2 {
        eventually("the fleet sleeps", || ready(&fleet) == 0);
        let answer =
            http::post(&fleet.url("/predict"), &[("Cache-Control", "no-store")], &images::digit_variant(4, number));
        assert_eq!((answer.status, &answer.json()["prediction"]), (200, &Value::from("4")), "{answer:?}");
    }
    let told = fleet.shoal(&["fleet", "explain"]);
    assert!(told.contains("0 to 1") && told.contains("1 to 0") && told.contains("no job for"), "{told}");
}

#[test]
fn a_persons_word_holds_until_auto() {
    let fleet = Fleet::start(FleetPlan { scale: Some((1, 3)), config: QUICK.into(), ..FleetPlan::default() });
    fleet.shoal(&["scale", "3"]);
    fleet.wait_ready(3);
    assert!(fleet.shoal(&["fleet", "status"]).contains("fixed at 3"));
    fleet.shoal(&["scale", "auto"]);
    fleet.wait_ready(1);
    let told = fleet.shoal(&["fleet", "explain"]);
    assert!(told.contains("fixed at 3 until auto"), "{told}");
}

#[test]
fn supervisors_share_a_maximum_and_one_takes_over_from_another() {
    let mut fleet = Fleet::start(FleetPlan { scale: Some((2, 3)), config: QUICK.into(), ..FleetPlan::default() });
    fleet.add_supervisor();
    fleet.shoal(&["scale", "3"]);
    fleet.wait_ready(3);
    let both = |fleet: &Fleet| {
        let status = fleet.shoal(&["fleet", "status"]);
        assert!(status.contains("workers ordered: 3 of at most 3"), "{status}");
        status.lines().filter(|line| line.starts_with("supervisor-")).count()
    };
    eventually("both are listed", || both(&fleet) == 2);
    // Never more, though each would have started its least by itself.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ready(&fleet), 3);
    // The first one decides. It goes, without a word, and its workers with it.
    fleet.workers[0].signal(Signal::KILL);
    eventually("the other one runs all of them", || {
        let workers = http::get(&fleet.url("/models")).json()["workers"].as_array().cloned().unwrap_or_default();
        let status = fleet.shoal(&["fleet", "status"]);
        status.lines().filter(|line| line.starts_with("supervisor-")).count() == 1 && workers.len() == 3
    });
}
