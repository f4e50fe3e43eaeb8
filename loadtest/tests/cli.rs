//! The program as people and CI run it: exit codes, files, Ctrl-C, the flags of the first generator.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

mod practising;

use std::path::Path;
use std::process::{Command, Output};

use practising::{Practising, scenarios};
use rustix::process::Signal;
use serde_json::Value;
use shoal_loadtest::practice::Behaviour;
use shoal_testkit::eventually;
use shoal_testkit::process::{Process, binary};
use tempfile::TempDir;

fn loadtest(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("shoal-loadtest"));
    command.args(arguments);
    command
}

fn run(server: &Practising, folder: &Path, more: &[&str]) -> Output {
    let smoke = scenarios().join("smoke.toml");
    let out = folder.join("out");
    let mut command = loadtest(&["run", smoke.to_str().unwrap(), "--url", &server.url(), "--stretch", "0.2", "--out"]);
    command.arg(out).args(more).output().unwrap()
}

#[test]
fn a_run_writes_its_report_in_every_form() {
    let (server, folder) = (Practising::start(Behaviour::default()), TempDir::new().unwrap());
    let prefix = folder.path().join("locust");
    let output = run(&server, folder.path(), &["--json", "--label", "once", "--csv", prefix.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 3, "seconds, and then the report");
    let report = lines.last().unwrap();
    assert_eq!(report["total"]["failed"], 0);

    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let page = read("out/report.html");
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme") && page.contains("Smoke: once"));
    assert!(!page.contains("http://") || !page.contains("src="), "nothing is fetched");
    assert!(!page.contains("<link") && !page.contains("@import") && !page.contains("url("));
    assert!(read("out/report.md").contains("| GET | index |"));
    // What Locust 2.47 writes with --csv.
    let head = "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,\
                Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,\
                99.99%,100%\r\n";
    let stats = read("locust_stats.csv");
    assert!(stats.starts_with(head) && stats.contains("\r\nPOST,predict,") && stats.contains("\r\n,Aggregated,"));
    assert_eq!(stats.lines().map(|line| line.split(',').count()).collect::<Vec<_>>(), [22; 4]);
    assert!(read("locust_failures.csv").starts_with("Method,Name,Error,Occurrences,First Seen,Last Seen\r\n"));
    let history = read("locust_stats_history.csv");
    assert!(history.starts_with("Timestamp,User Count,Type,Name,Requests/s,Failures/s,50%"));
    assert!(history.lines().all(|line| line.split(',').count() == 24));

    // The same page from the JSON, and two runs side by side.
    let json = folder.path().join("out/report.json");
    let again = folder.path().join("again");
    let rendered = loadtest(&["report"]).arg(&json).arg("--quiet").arg("--out").arg(&again).status().unwrap();
    assert!(rendered.success());
    assert_eq!(std::fs::read_to_string(again.join("report.html")).unwrap(), page);
    let compared = loadtest(&["compare"]).arg(&json).arg(&json).arg(&json).output().unwrap();
    assert!(String::from_utf8(compared.stdout).unwrap().contains("| once | 3 |"));
}

#[test]
fn a_broken_threshold_is_the_exit_code() {
    let behaviour = Behaviour { errors: 0.5, ..Behaviour::default() };
    let (server, folder) = (Practising::start(behaviour), TempDir::new().unwrap());
    let output = run(&server, folder.path(), &["--quiet"]);
    assert_eq!(output.status.code(), Some(99));
    assert!(String::from_utf8_lossy(&output.stderr).contains("threshold `errors < 0.1%` does not hold"));
    let held = run(&server, folder.path(), &["--quiet", "--threshold", "rps > fast"]);
    assert!(!held.status.success() && String::from_utf8_lossy(&held.stderr).contains("`fast` is no number"));
}

#[test]
fn ctrl_c_still_writes_the_report() {
    let (server, folder) = (Practising::start(Behaviour::default()), TempDir::new().unwrap());
    let smoke = scenarios().join("smoke.toml");
    let mut command = loadtest(&["run", smoke.to_str().unwrap(), "--url", &server.url(), "--stretch", "60", "--out"]);
    command.arg(folder.path().join("out"));
    let mut process = Process::start(&mut command, &folder.path().join("log"));
    eventually("the run goes on", || server.account()["predictions"].as_u64().unwrap() > 30);
    process.signal(Signal::INT);
    assert_eq!(process.wait().code(), Some(130), "{}", process.log());
    let report: Value = serde_json::from_slice(&std::fs::read(folder.path().join("out/report.json")).unwrap()).unwrap();
    assert!(report["ended_early"].as_str().unwrap().starts_with("interrupted"));
    assert!(report["total"]["answered"].as_u64().unwrap() > 10);
}

#[test]
fn the_first_generators_flags_still_work() {
    let server = Practising::start(Behaviour::default());
    let image = shoal_testkit::process::repository().join("worker/models/digits/samples/digit-3.png");
    let url = format!("{}/predict", server.url());
    let output = loadtest(&["--url", &url, "--connections", "4", "--seconds", "1", "--unique", "--think", "0-0.01"])
        .args(["--obey", "--json", "--image"])
        .arg(&image)
        .output()
        .unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["outcomes"]["ok"], server.account()["predictions"]);
    assert!(summary["requests_per_second"].as_f64().unwrap() > 0.0 && summary["p99_ms"].as_f64().unwrap() > 0.0);
    let output = loadtest(&["--url", &url]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--image FILE is needed"));
}

#[test]
fn the_capacity_of_a_known_server_is_found() {
    // Two slots of 20 ms: no more than 100 a second.
    let behaviour = Behaviour { delay: "20ms".parse().unwrap(), slots: Some(2), ..Behaviour::default() };
    let server = Practising::start(behaviour);
    let steps = scenarios().join("steps.toml");
    let output = loadtest(&["find-capacity", steps.to_str().unwrap(), "--url", &server.url(), "--json"])
        .args(["--probe", "1", "--confirm", "1.5", "--confirmations", "1", "--from", "50", "--precision", "0.3"])
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rate = said["rate"].as_f64().unwrap_or_else(|| panic!("{said}"));
    // A busy machine can only make it less. More than the slots carry it cannot be, but for what a
    // short run does not notice.
    assert!((20.0..=125.0).contains(&rate), "{said}");
    assert!(said["runs"].as_array().unwrap().iter().any(|run| run["holds"] == false), "{said}");
}
