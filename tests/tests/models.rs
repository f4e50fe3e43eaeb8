//! Versions of a model: pushed, promoted, tried on a part of the images, compared, withdrawn; and several
//! models in one worker. Nobody who asks meanwhile notices anything but the answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::Path;

use serde_json::Value;
use shoal_testkit::bus::Streams;
use shoal_testkit::clients::Clients;
use shoal_testkit::fleet::{Fleet, FleetPlan, metric};
use shoal_testkit::http::{Client, Response};
use shoal_testkit::{eventually, http, images, models};

const WORDS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// A fleet with models of its own, so that versions are fetched.
fn fleet(dir: &Path) -> Fleet {
    Fleet::start(FleetPlan { models_dir: Some(dir.join("models")), ..FleetPlan::default() })
}

fn ask(fleet: &Fleet, query: &str, digit: u8, number: u32) -> Response {
    http::post(&fleet.url(&format!("/predict{query}")), &[], &images::digit_variant(digit, number))
}

/// The version that answers an image never seen before.
fn version(fleet: &Fleet, number: u32) -> Value {
    let answer = ask(fleet, "", 3, number);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["model_version"].clone()
}

/// The state of a model's version, as the gateway tells it.
fn state(fleet: &Fleet, model: &str, version: &str) -> Value {
    let view = http::get(&fleet.url(&format!("/models/{model}"))).json();
    let versions = view["versions"]["versions"].as_array().cloned().unwrap_or_default();
    versions.into_iter().find(|one| one["version"] == version).unwrap_or_default()
}

/// Four clients that ask with new images meanwhile. Gives how many they asked with.
fn under_load(fleet: &Fleet, work: impl FnOnce(&Clients)) -> u32 {
    let url = fleet.url("/predict?timeout_ms=60000");
    let ask = |client: &Client, _, number: u32| {
        client.post(&url, &images::digit_variant((number % 10) as u8, number % 65536))
    };
    Clients::during(4, ask, work)
}

/// The same over the Open Inference Protocol.
fn the_protocol_knows_both(fleet: &Fleet) {
    let get = |path: &str| http::get(&fleet.url(&format!("/v2/models/digits{path}")));
    assert_eq!(get("").json()["versions"], serde_json::json!(["1", "2"]));
    for path in ["/ready", "/versions/1/ready", "/versions/2/ready"] {
        assert_eq!((get(path).status, get(path).json()["ready"].as_bool()), (200, Some(true)), "{path}");
    }
    assert_eq!(get("/versions/3/ready").status, 404);
    let image = http::get(&fleet.url("/samples/digit-7.png")).body;
    let ask = |path: &str| {
        let header = serde_json::json!({ "inputs": [{ "name": "image", "shape": [1], "datatype": "BYTES",
            "parameters": { "binary_data_size": image.len() + 4 } }] })
        .to_string();
        let mut body = header.clone().into_bytes();
        body.extend_from_slice(&(image.len() as u32).to_le_bytes());
        body.extend_from_slice(&image);
        let length = header.len().to_string();
        let headers = [("Inference-Header-Content-Length", length.as_str())];
        http::post(&fleet.url(&format!("/v2/models/digits{path}/infer")), &headers, &body).json()
    };
    let label = |answer: &Value| answer["outputs"][0]["data"][0].clone();
    let (old, new, live) = (ask("/versions/1"), ask("/versions/2"), ask(""));
    assert_eq!((&old["model_version"], &label(&old)), (&"1".into(), &"7".into()), "{old}");
    assert_eq!((&new["model_version"], &label(&new)), (&"2".into(), &"seven".into()), "{new}");
    assert_eq!(live["model_version"], "2", "{live}");
}

#[test]
fn versions_take_over_under_load_and_no_request_fails() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let words = models::relabelled_digits(dir.path(), WORDS);
    // Before anything is pushed there are no versions.
    assert_eq!(version(&fleet, 60_000), Value::Null);
    let asked = under_load(&fleet, |load| {
        fleet.shoal(&["models", "push", "digits"]);
        load.until("the first version answers", || version(&fleet, 60_001) == "1");
        let pushed = fleet.shoal(&["models", "push", &words]);
        assert!(pushed.contains("pushed digits 2") && pushed.contains("promote digits 2"), "{pushed}");
        assert_eq!(version(&fleet, 60_002), "1", "it was not promoted");
        fleet.shoal(&["models", "promote", "digits", "2"]);
        load.until("the second version answers", || version(&fleet, 60_003) == "2");
        let answer = ask(&fleet, "", 7, 60_004).json();
        assert_eq!((&answer["prediction"], &answer["model"]), (&"seven".into(), &"digits".into()), "{answer}");
        // The one before stays loaded, and can be asked by name.
        let answer = ask(&fleet, "?version=1", 7, 60_004).json();
        assert_eq!((&answer["prediction"], &answer["model_version"]), (&"7".into(), &"1".into()), "{answer}");
        let header = [("Shoal-Model-Version", "1")];
        let answer = http::post(&fleet.url("/predict"), &header, &images::digit_variant(8, 60_005)).json();
        assert_eq!((&answer["prediction"], &answer["model_version"]), (&"8".into(), &"1".into()), "{answer}");
        the_protocol_knows_both(&fleet);
        fleet.shoal(&["models", "rollback", "digits"]);
        load.until("the first version answers again", || version(&fleet, 60_006) == "1");
    });
    println!("{asked} requests while versions were pushed, promoted and rolled back");
    let missing = ask(&fleet, "?version=9", 1, 60_007);
    assert_eq!(missing.status, 404);
    assert!(String::from_utf8_lossy(&missing.body).contains("there are: 1, 2"), "{missing:?}");
    assert_eq!(ask(&fleet, "?version=A", 1, 60_007).status, 400);

    let view = http::get(&fleet.url("/models/digits")).json();
    assert_eq!((&view["version"], &view["state"], &view["classes"]), (&"1".into(), &"ready".into(), &10.into()));
    assert_eq!(view["labels"].as_array().unwrap().len(), 10, "{view}");
    assert!(view["input"]["color"] == "gray" && view["speed"]["image_ms"].as_f64().unwrap() > 0.0, "{view}");
    let told = fleet.shoal(&["models", "versions", "digits"]);
    assert!(told.contains("live 1 to 2") && told.contains("live 2 back to 1"), "{told}");

    // A job for it that comes late, from a gateway that has not heard of the rollback, waits for nobody.
    let streams = Streams::connect(&fleet.nats.url());
    let unloaded = "shoal_worker_model_changes_total{change=\"unloaded\",model=\"digits_v2\"}";
    eventually("the second version is unloaded", || fleet.worker_metric(unloaded) == 1.0);
    streams.publish("jobs.digits_v2.bulk", &[("Shoal-Job".to_owned(), "late".to_owned())], images::digit(4));
    eventually("the late job is answered", || streams.result("late")["prediction"] == "four");
    eventually("the second version is unloaded again", || fleet.worker_metric(unloaded) == 2.0);

    // A version that is not used can go, and takes its queue with it; one that is used stays.
    fleet.shoal(&["models", "remove", "digits", "2"]);
    assert_eq!(ask(&fleet, "?version=2", 1, 60_008).status, 404);
    // What others publish without a version is answered by the live one.
    let job = [("Shoal-Job".to_owned(), "unversioned".to_owned())];
    streams.publish("jobs.digits.bulk", &job, images::digit(6));
    eventually("the job is answered", || streams.result("unversioned")["prediction"] == "6");
    assert_eq!(streams.result("unversioned")["model_version"], "1");
    assert_eq!(http::get(&fleet.url("/models/nonesuch")).status, 404);
}

#[test]
fn a_canary_answers_its_part_and_one_that_fails_is_withdrawn_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let words = models::relabelled_digits(dir.path(), WORDS);
    fleet.shoal(&["models", "push", "digits"]);
    fleet.shoal(&["models", "push", &words]);
    eventually("the first version answers", || version(&fleet, 0) == "1");
    fleet.shoal(&["models", "canary", "digits", "2", "30"]);
    eventually("the canary is loaded", || state(&fleet, "digits", "2")["state"] == "ready");
    let share = |from: u32| (from..from + 400).filter(|number| version(&fleet, *number) == "2").collect::<Vec<_>>();
    let first = share(1000);
    // Four standard deviations of a binomial distribution around 120.
    assert!((83..=157).contains(&first.len()), "{} of 400 images", first.len());
    assert_eq!(first, share(1000), "an image keeps its version");

    let failing = models::failing(dir.path());
    fleet.shoal(&["models", "push", &failing, "--name", "digits"]);
    fleet.shoal(&["models", "canary", "digits", "3", "50"]);
    let asked = under_load(&fleet, |load| {
        load.until("the failing canary is withdrawn", || {
            fleet.shoal(&["models", "versions", "digits"]).contains("canary 3 withdrawn")
        });
    });
    println!("{asked} requests while a failing canary was tried and withdrawn");
    let told = fleet.shoal(&["models", "versions", "digits"]);
    assert!(told.contains("were errors") || told.contains("failed"), "{told}");
    eventually("it is counted", || {
        metric(&fleet.url("/metrics"), "shoal_gateway_model_rollbacks_total{model=\"digits\"}") == 1.0
    });
    assert!(metric(&fleet.url("/metrics"), "shoal_gateway_model_fallbacks_total{model=\"digits_v3\"}") >= 1.0);
    eventually("it is told", || fleet.shoal(&["fleet", "explain", "--model", "digits", "--json"]).contains("rollback"));

    // The same one promoted outright: the version before answers what it cannot, and takes over again.
    fleet.shoal(&["models", "promote", "digits", "3"]);
    under_load(&fleet, |load| {
        load.until("the failing version is rolled back", || {
            fleet.shoal(&["models", "versions", "digits"]).contains("live 3 back to 1")
        });
    });
    assert_eq!(version(&fleet, 50_000), "1");
}

#[test]
fn a_shadow_is_compared_and_a_version_that_does_not_load_never_answers() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let mut swapped = WORDS;
    swapped.swap(3, 5);
    let words = models::relabelled_digits(dir.path(), swapped);
    fleet.shoal(&["models", "push", "digits"]);
    fleet.shoal(&["models", "push", &words]);
    eventually("the first version answers", || version(&fleet, 0) == "1");
    fleet.shoal(&["models", "shadow", "digits", "2", "100"]);
    eventually("the shadow is loaded", || state(&fleet, "digits", "2")["state"] == "ready");
    (1..40).for_each(|number| assert_eq!(version(&fleet, number), "1"));
    let shadow = |word: &str| state(&fleet, "digits", "2")["shadow"][word].as_f64().unwrap_or_default();
    eventually("every image was compared, or left out", || {
        ["agree", "disagree", "failed", "dropped"].map(shadow).iter().sum::<f64>() >= 39.0
    });
    // The same computation: it agrees by class, whatever the labels say.
    assert!(shadow("agree") >= 1.0 && shadow("disagree") == 0.0 && shadow("mean_difference") < 1e-6);

    // Ten classes and three labels: it cannot be served with these.
    let broken = models::relabelled_digits(dir.path(), ["broken"; 10]);
    std::fs::write(Path::new(&broken).join("labels.txt"), "a\nb\nc").unwrap();
    fleet.shoal(&["models", "push", &broken, "--untried"]);
    let asked = under_load(&fleet, |load| {
        fleet.shoal(&["models", "promote", "digits", "3"]);
        load.until("the broken version is rolled back", || {
            fleet.shoal(&["models", "versions", "digits"]).contains("live 3 back to 1")
        });
    });
    println!("{asked} requests while a version that does not load was promoted and rolled back");
    let told = fleet.shoal(&["models", "versions", "digits"]);
    assert!(told.contains("labels file has 3 lines"), "{told}");
    assert_eq!(version(&fleet, 41), "1");
}

#[test]
fn one_worker_serves_several_models_and_loads_what_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let models_dir = dir.path().join("models");
    models::add_brittle(&models_dir);
    // One model fits, two do not.
    let config = "[worker]\nmemory_budget = 170000\n".to_owned();
    let also = vec!["brittle".to_owned()];
    let fleet = Fleet::start(FleetPlan { models_dir: Some(models_dir), also, config, ..FleetPlan::default() });
    let held = |fleet: &Fleet, model: &str| {
        let workers = http::get(&fleet.url("/models")).json()["workers"].clone();
        let held = workers[0]["models"].as_array().cloned().unwrap_or_default();
        held.into_iter().find(|one| one["name"] == model).map(|one| one["state"].clone()).unwrap_or_default()
    };
    eventually("one is loaded and the other known", || {
        held(&fleet, "digits") == "ready" && held(&fleet, "brittle") == "unloaded"
    });
    for round in 0..2 {
        let dark = http::post(&fleet.url("/predict?model=brittle"), &[], &images::solid(10, round));
        assert_eq!((dark.status, &dark.json()["prediction"]), (200, &"dark".into()), "{dark:?}");
        let three = ask(&fleet, "?model=digits", 3, round);
        assert_eq!((three.status, &three.json()["prediction"]), (200, &"3".into()), "{three:?}");
    }
    let unloaded = "shoal_worker_model_changes_total{change=\"unloaded\",model=\"digits\"}";
    assert!(fleet.worker_metric(unloaded) >= 1.0);
}

#[test]
fn a_fleet_divides_its_workers_between_models() {
    let dir = tempfile::tempdir().unwrap();
    let models_dir = dir.path().join("models");
    models::add_brittle(&models_dir);
    let config = "[worker]\nmemory_budget = 170000\n".to_owned();
    let also = vec!["brittle".to_owned()];
    let plan = FleetPlan { models_dir: Some(models_dir), also, config, scale: Some((2, 2)), ..FleetPlan::default() };
    let fleet = Fleet::start(plan);
    let ask = |_: &Client, client, number: u32| {
        let (model, image) = match client {
            0 => ("digits", images::digit_variant(4, number % 65536)),
            _ => ("brittle", images::solid(20, number % 4096)),
        };
        let url = fleet.url(&format!("/predict?timeout_ms=60000&model={model}"));
        http::post(&url, &[("Cache-Control", "no-store")], &image)
    };
    Clients::during(2, ask, |clients| {
        clients.until("each model has a worker of its own", || {
            let told = fleet.shoal(&["fleet", "status", "--model", "digits"]);
            told.contains("keeps digits") && told.contains("keeps brittle")
        });
    });
}
