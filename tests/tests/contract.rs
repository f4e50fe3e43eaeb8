//! The gateway against its own contract: schemathesis reads `/openapi.json` and asks for everything
//! that it promises, with values that fit and values that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::process::Command;

use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http;
use shoal_testkit::process::repository;

#[test]
fn every_answer_is_one_that_the_contract_names() {
    let python = repository().join(".tools/python-contract");
    if !python.exists() {
        return println!("skipped: schemathesis is not installed (deploy/setup.sh --tests)");
    }
    let env = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let gateway_env = vec![env("SHOAL_GATEWAY_AUTH__DEMO", "true"), env("SHOAL_GATEWAY_AUTH__REGISTRATION", "admin")];
    let fleet = Fleet::start(FleetPlan { gateway_env, ..FleetPlan::default() });
    let form = b"username=admin@example.com&password=admin";
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let login = http::request("POST", &fleet.url("/login"), &[kind], Some(form)).json();
    let bearer = format!("Authorization: Bearer {}", login["access_token"].as_str().unwrap());

    let report = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .env("PYTHONPATH", &python)
        .args(["-m", "schemathesis.cli", "run", &fleet.url("/openapi.json"), "--header", &bearer])
        // Bytes that fit `string` are seldom an image, and a name that fits is seldom taken.
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"])
        // Deleting the account that asks would end the run, and the form without a script sends whoever
        // errs back to the page, as it always did.
        .args(["--exclude-operation-id", "deleteUser", "--exclude-operation-id", "formPredict"])
        .args(["--max-examples", "20", "--seed", "20261121", "--suppress-health-check", "all", "--continue-on-failure"])
        .args(["--warnings", "off", "--request-timeout", "20", "--workers", "1"])
        .current_dir(report.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("No issues found"), "{said}");
}
