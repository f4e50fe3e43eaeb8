//! Answers are checked, refusals are no failures, logins are counted, and what the generator could
//! not send is its own shortfall.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

mod practising;

use practising::{Practising, scenario};
use shoal_loadtest::practice::Behaviour;

#[test]
fn errors_and_answers_to_somebody_else_are_failures() {
    let behaviour = Behaviour { errors: 0.02, mix_up: 0.05, ..Behaviour::default() };
    let server = Practising::start(behaviour);
    let report =
        server.measure(scenario("duration = '3s'\nusers = 4\n").replace("[users]", "[users]\nwait = '1ms-3ms'"));
    let (account, total) = (server.account(), report.total);
    // Warm-up requests are the server's, and not counted here.
    let told = |name: &str| account[name].as_u64().unwrap();
    let (errors, wrong) = (total.kinds["status 500"], total.kinds["wrong answer"]);
    assert!(
        told("failed") - errors <= report.generator.warm_up && told("mixed_up") - wrong <= report.generator.warm_up
    );
    assert_eq!(total.failed, errors + wrong);
    assert_eq!(total.requests + report.generator.warm_up, told("predictions"));
    assert!(wrong > 0 && report.verdict.iter().any(|finding| finding.contains("did not belong")));
}

#[test]
fn refusals_are_counted_apart() {
    let behaviour =
        Behaviour { delay: "100ms".parse().unwrap(), refuse_above: Some(5), slots: Some(5), ..Behaviour::default() };
    let server = Practising::start(behaviour);
    let report = server.measure(scenario("duration = '3s'\nrate = 150\n"));
    assert_eq!(report.total.failed, 0, "{:?}", report.total.kinds);
    assert_eq!(report.total.refused, server.account()["refused"].as_u64().unwrap());
    assert_eq!(report.total.answered + report.total.refused, report.total.requests);
    assert!(report.total.refused > 50);
    assert_eq!(report.total.requests, 450, "constant arrivals: every one was sent");
    assert!(report.verdict.iter().any(|finding| finding.contains("No rate was held")), "{:?}", report.verdict);
}

#[test]
fn every_user_logs_in_once() {
    let server = Practising::start(Behaviour::default());
    let text = "title = 't'\n[target.login]\npath = '/login'\nusername = 'admin@example.com'\npassword = 'a&b'\n\
                [users]\nwait = '10ms-20ms'\n[[task]]\nname = 'users'\npath = '/user/'\ntoken = true\n\
                [[task]]\nname = 'predict'\npath = '/model/predict'\nupload = 'multipart'\ntoken = true\n\
                [[phase]]\nduration = '2s'\nusers = 7\n";
    let report = server.measure(text.into());
    assert_eq!(report.total.failed, 0, "{:?}", report.total.kinds);
    assert_eq!(report.generator.logins, 7);
    assert!(!serde_json::to_string(&report).unwrap().contains("a&b"), "the password stays out of the report");
    let login = report.tasks.iter().find(|task| task.name == "POST /login").unwrap();
    assert_eq!(login.answered, 7);
    assert_eq!(server.account()["logins"], 8, "one more for the warm-up");
    // Without the token the same server refuses both.
    let without = server.measure(text.replace("token = true\n", ""));
    assert_eq!(without.total.kinds["status 401"], without.total.requests - 7);
}

#[test]
fn what_could_not_be_sent_is_the_generators_own() {
    let server = Practising::start(Behaviour { delay: "500ms".parse().unwrap(), ..Behaviour::default() });
    let text = scenario("duration = '3s'\nrate = 100\n").replace("[arrivals]", "[arrivals]\nmax_outstanding = 10");
    let report = server.measure(text);
    assert_eq!(report.generator.shortfall + report.total.requests, 300);
    assert!(report.generator.shortfall > 200);
    assert!(report.generator.limit.is_some());
    assert!(report.verdict.iter().any(|finding| finding.contains("The generator was the limit")));
    assert!(!report.verdict.iter().any(|finding| finding.contains("were held")), "nothing is said of the target");
}

#[test]
fn requests_without_an_answer_at_the_end_are_counted() {
    let server = Practising::start(Behaviour { delay: "30s".parse().unwrap(), ..Behaviour::default() });
    let text = "title = 't'\n[target]\ntimeout = '1s'\n[[task]]\nname = 'predict'\npath = '/predict'\nupload = 'raw'\n\
                check = false\n[[phase]]\nduration = '1s'\nusers = 3\n";
    let report = server.measure(text.into());
    assert_eq!(report.total.answered, 0);
    assert!(report.total.kinds["timeout"] >= 3, "{:?}", report.total.kinds);
}

#[test]
fn a_run_ends_when_it_has_seen_enough() {
    let server = Practising::start(Behaviour { errors: 0.5, ..Behaviour::default() });
    let text = scenario("duration = '10m'\nrate = 30\n").replace("[users]", "stop_when = ['errors > 20%']\n[users]");
    let report = server.measure(text);
    assert!(report.ended_early.unwrap().starts_with("stop_when `errors > 20%` was reached"));
    assert!(report.seconds < 60.0 && report.series.len() >= 10);
}
