//! Dashboards, rules and alerts, held against a real Prometheus that scrapes a fleet under load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shoal_shared::locate;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::load::LoadPlan;
use shoal_testkit::process::repository;
use shoal_testkit::prometheus::{Prometheus, configuration};
use shoal_testkit::{eventually, http, images};

/// Rules look back over a minute, some panels over several scrapes of what they record.
const PATIENCE: Duration = Duration::from_secs(150);

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn holds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", text(&output));
}

#[test]
fn the_dashboards_are_what_their_source_says() {
    holds(Command::new("python3").arg(repository().join("grafana/generate.py")).arg("--check"));
}

#[test]
fn promtool_accepts_the_configuration_and_every_rule_does_what_its_test_says() {
    let Some(promtool) = locate::promtool() else {
        println!("SKIPPED: no promtool");
        return;
    };
    let tool = |args: &[&str]| {
        let mut command = Command::new(&promtool);
        command.args(args).current_dir(configuration());
        command
    };
    holds(&mut tool(&["check", "config", "prometheus.yml"]));
    holds(&mut tool(&["check", "config", "prometheus.compose.yml"]));
    let mut tests: Vec<_> = std::fs::read_dir(configuration().join("tests")).unwrap().flatten().collect();
    tests.sort_by_key(|entry| entry.file_name());
    assert!(tests.len() >= 4);
    for test in tests {
        holds(tool(&["test", "rules"]).arg(test.path()));
    }
}

#[test]
fn every_panel_and_rule_has_data_and_the_rules_agree_with_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(FleetPlan { workers: 2, ..FleetPlan::default() });
    let Some(prometheus) = Prometheus::watch(&fleet.gateways[0].1, dir.path()) else {
        println!("SKIPPED: no Prometheus");
        return;
    };
    let image = dir.path().join("digit.png");
    std::fs::write(&image, images::digit(3)).unwrap();
    let url = fleet.url("/predict");
    let load = LoadPlan { url: &url, image: &image, connections: 4, unique: true };
    let mut load = load.start(&dir.path().join("load.log"));
    // Something of everything: a hit, a refusal, an asynchronous job.
    let lion = images::digit(5);
    http::post(&url, &[], &lion);
    http::post(&url, &[], &lion);
    http::post(&url, &[], b"no image");
    http::post(&fleet.url("/jobs"), &[], &images::digit(7));

    let patience = Instant::now() + PATIENCE;
    loop {
        let mut check = Command::new("python3");
        let output = check.arg(repository().join("grafana/check_data.py")).arg(&prometheus.url).output().unwrap();
        if output.status.success() {
            println!("{}", text(&output));
            break;
        }
        assert!(Instant::now() < patience, "{}", text(&output));
        std::thread::sleep(Duration::from_secs(3));
    }
    assert!(load.is_running(), "{}", load.log());

    // Both were scraped, by the gateway's own list of targets.
    assert_eq!(prometheus.query("up{job=\"shoal-gateway\"} == 1").len(), 1);
    assert_eq!(prometheus.query("up{job=\"shoal-worker\"} == 1").len(), 2);
    let named = prometheus.query("shoal:bottleneck");
    assert_eq!(named.len(), 1, "{named:?}");
    // The gateway's headroom, utilisation and the rules' are of the same traffic.
    let ratio = |resource: &str| {
        let found = prometheus.query(&format!("shoal:saturation:ratio{{resource=\"{resource}\"}}"));
        assert_eq!(found.len(), 1, "{resource}: {found:?}");
        assert!((0.0..=1.0).contains(&found[0].1), "{resource}: {found:?}");
        found[0].1
    };
    // The rules' first values may come before there was anything to see.
    for resource in ["gateway", "inference", "cpu"] {
        eventually(&format!("{resource} has something to do"), || ratio(resource) > 0.0);
    }
    // The stages of the answered predictions are the whole of their requests. Counters of one scrape, because a rate reckons with
    // the time before a series began, which differs; and of one when nothing moved, because a page is not gathered in a moment.
    drop(load);
    let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let scraped = "min(timestamp(shoal_gateway_request_seconds_sum))";
    eventually("a second has passed, and a scrape", || prometheus.query(scraped)[0].1 > ended + 1.0);
    let stages = "sum(shoal_gateway_stage_seconds_sum)";
    let requests = "sum(shoal_gateway_request_seconds_sum{route=\"/predict\"})";
    let share = prometheus.query(&format!("{stages} / {requests}"))[0].1;
    assert!((share - 1.0).abs() < 0.02, "the stages are {share} of the whole");
}
