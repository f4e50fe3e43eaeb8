//! The page in a real browser: tests/page/drive.py asks, clicks and reads against a real fleet.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::PathBuf;
use std::process::Command;

use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::process::repository;

/// Browsers by the names that distributions give them.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn browser() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    BROWSERS.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()))
}

#[test]
fn people_find_what_they_came_for() {
    let python = repository().join(".tools/python-page");
    let Some(chromium) = browser() else { return println!("skipped: no Chromium on the PATH") };
    if !python.exists() {
        return println!("skipped: Playwright is not installed (deploy/setup.sh --tests)");
    }
    let mut fleet = Fleet::start(FleetPlan::default());
    fleet.gateway_env("SHOAL_GATEWAY_AUTH__MODE", "required");
    fleet.gateway_env("SHOAL_GATEWAY_AUTH__DEMO", "true");
    fleet.add_gateway();
    fleet.wait_ready(1);
    let shots = match std::env::var_os("SHOAL_SHOTS") {
        Some(folder) => PathBuf::from(folder),
        None => fleet.nats.dir().to_owned(),
    };
    let output = Command::new("python3")
        .arg(repository().join("tests/page/drive.py"))
        .arg(chromium)
        .args([&fleet.gateways[0].1, &fleet.gateways[1].1])
        .args([repository().join("worker/models/digits/samples"), shots])
        .env("PYTHONPATH", python)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
