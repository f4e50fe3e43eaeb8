//! The last release beside today's: its workers with today's gateway, and the reverse. `SHOAL_OLD_BINARIES` names the
//! folder with its binaries.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::PathBuf;

use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::{eventually, http, images};

fn old() -> Option<PathBuf> {
    let folder = std::env::var_os("SHOAL_OLD_BINARIES").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: SHOAL_OLD_BINARIES names no folder with the binaries of another release");
    }
    folder
}

/// Everything that crosses between a gateway and a worker: an answer, a refusal, a large image, an accepted job, the
/// heartbeat, the shared cache.
fn works_together(plan: FleetPlan) {
    let config = "[gateway]\ninline_bytes = 2000\n".to_owned();
    let mut fleet = Fleet::start(FleetPlan { config, scale: Some((1, 2)), ..plan });
    let predict = |gateway: &str, image: &[u8]| http::post(&format!("{gateway}/predict"), &[], image);
    let first = fleet.gateways[0].1.clone();
    let answer = predict(&first, &images::digit(3)).json();
    assert_eq!((&answer["prediction"], &answer["cache"]), (&"3".into(), &"miss".into()), "{answer}");
    assert!(answer["timing_ms"]["infer"].is_number(), "{answer}");
    assert_eq!(predict(&first, &images::noise(60, 1)).json()["success"], true);
    let mut broken = images::digit(5);
    broken.truncate(100);
    assert_eq!(predict(&first, &broken).status, 400);
    let job = http::post(&format!("{first}/jobs"), &[], &images::digit(4)).json()["id"].as_str().unwrap().to_owned();
    let job = http::get(&format!("{first}/jobs/{job}?wait=20")).json();
    assert_eq!(job["result"]["prediction"], "4", "{job}");
    fleet.add_gateway();
    fleet.wait_ready(1);
    assert_eq!(predict(&fleet.gateways[1].1, &images::digit(3)).json()["cache"], "shared");
    fleet.shoal(&["scale", "2"]);
    fleet.wait_ready(2);
    eventually("today's command understands the supervisor", || {
        fleet.shoal(&["fleet", "status"]).contains("supervisor")
    });
}

#[test]
fn workers_of_the_last_release_serve_todays_gateway() {
    let Some(old) = old() else { return };
    works_together(FleetPlan { worker_binaries: Some(old), ..FleetPlan::default() });
}

#[test]
fn todays_workers_serve_the_last_releases_gateway() {
    let Some(old) = old() else { return };
    works_together(FleetPlan { gateway_binaries: Some(old), ..FleetPlan::default() });
}
