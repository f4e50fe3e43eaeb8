//! The load generator against a real fleet: every answer is the right digit, the fleet's own account
//! is on the same time axis; and the users for Locust, where Locust is installed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::process::Command;

use serde_json::Value;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::process::{binary, repository};

#[test]
fn a_scenario_runs_against_a_fleet() {
    let fleet = Fleet::start(FleetPlan::default());
    let out = fleet.nats.dir().join("out");
    let scenario = repository().join("loadtest/scenarios/smoke.toml");
    let run = Command::new(binary("shoal-loadtest"))
        .arg("run")
        .arg(scenario)
        .args(["--url", &fleet.url(""), "--stretch", "0.6", "--quiet", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    // Whether p95 holds is this machine's affair, and no test's.
    assert!([0, 99].contains(&run.status.code().unwrap()), "{}", String::from_utf8_lossy(&run.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["total"]["failed"], 0, "{}", report["total"]["kinds"]);
    let predict = report["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "predict").unwrap();
    assert!(predict["answered"].as_u64().unwrap() > 20);
    assert_eq!(report["cache"]["MISS"], predict["answered"], "every body was new");
    let watched = report["watched"].as_array().unwrap();
    assert!(watched.iter().any(|sample| sample["workers"] == 1 && sample["bottleneck"].is_string()), "{watched:?}");
    assert!(report["environment"]["target"]["models"].to_string().contains("digits"));
}

#[test]
fn locust_users_run_against_a_fleet() {
    let locust = std::env::var_os("SHOAL_LOCUST").unwrap_or_else(|| "locust".into());
    if !Command::new(&locust).arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: Locust is not installed (pip install locust; SHOAL_LOCUST names another one)");
        return;
    }
    let fleet = Fleet::start(FleetPlan::default());
    let prefix = fleet.nats.dir().join("locust");
    let run = Command::new(locust)
        .arg("-f")
        .arg(repository().join("loadtest/locustfile.py"))
        .args([
            "--host",
            fleet.url("").trim_end_matches('/'),
            "--headless",
            "-u",
            "10",
            "-r",
            "10",
            "-t",
            "8s",
            "--csv",
        ])
        .arg(&prefix)
        .output()
        .unwrap();
    // Locust's exit code is 1 when any request failed.
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let stats = std::fs::read_to_string(prefix.with_file_name("locust_stats.csv")).unwrap();
    let predict = stats.lines().find(|line| line.starts_with("POST,predict,")).unwrap();
    let columns: Vec<&str> = predict.split(',').collect();
    assert!(columns[2].parse::<u32>().unwrap() > 3 && columns[3] == "0", "{predict}");
}
