//! Jobs that kill their worker, and workers that fail every job.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::Path;

use shoal_testkit::bus::Streams;
use shoal_testkit::fleet::{Fleet, FleetPlan, provision};
use shoal_testkit::process::binary;
use shoal_testkit::{eventually, http, images, models};

/// Kills the process that runs the session, by SIGFPE inside ONNX Runtime.
const DEADLY: u8 = 255;
/// Makes the session fail.
const FAILING: u8 = 128;

fn brittle_fleet(models: &Path, plan: FleetPlan) -> Fleet {
    models::add_brittle(models);
    let config = format!("[nats.topology]\nack_wait = \"1s\"\nmax_attempts = 3\n{}", plan.config);
    Fleet::start(FleetPlan { model: "brittle".into(), models_dir: Some(models.into()), config, ..plan })
}

fn dead_letters(fleet: &Fleet) -> String {
    fleet.shoal(&["dead", "list"])
}

#[test]
fn a_job_that_kills_its_worker_ends_as_a_dead_letter_and_no_other_job_pays() {
    let models = tempfile::tempdir().unwrap();
    let fleet = brittle_fleet(models.path(), FleetPlan { supervised: true, ..FleetPlan::default() });
    let url = fleet.url("/predict?timeout_ms=120000");
    std::thread::scope(|scope| {
        let deadly = scope.spawn(|| http::post(&url, &[], &images::solid(DEADLY, 0)));
        let harmless: Vec<_> = (0..40)
            .map(|number| {
                scope.spawn({
                    let url = &url;
                    move || http::post(url, &[], &images::solid(30, number))
                })
            })
            .collect();
        for answer in harmless {
            let answer = answer.join().unwrap();
            assert_eq!((answer.status, answer.json()["prediction"].as_str()), (200, Some("dark")), "{answer:?}");
        }
        let answer = deadly.join().unwrap();
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (500, Some("dead_lettered")),
            "{answer:?}"
        );
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("after 3 attempts") && message.contains("worker died"), "{message}");
    });

    let list = dead_letters(&fleet);
    assert_eq!(list.lines().count(), 2, "{list}");
    let job = list.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let saved = models.path().join("saved.png");
    let shown = fleet.shoal(&["dead", "show", &job, "--save", saved.to_str().unwrap()]);
    assert!(shown.contains("attempts     3") && shown.contains("last worker  worker-"), "{shown}");
    assert_eq!(std::fs::read(saved).unwrap(), images::solid(DEADLY, 0));

    // The fleet goes on; a replay keeps the id and meets the same end, in the results this time.
    assert_eq!(http::post(&url, &[], &images::solid(200, 0)).json()["prediction"], "bright");
    assert!(fleet.shoal(&["dead", "replay", &job]).contains(&job));
    assert_eq!(dead_letters(&fleet), "no dead letters\n");
    eventually("the replayed job has died again", || dead_letters(&fleet).contains(&job));
    assert_eq!(fleet.shoal(&["dead", "purge"]), "removed 1 dead letters\n");
    assert_eq!(dead_letters(&fleet), "no dead letters\n");
}

#[test]
fn one_bad_image_fails_alone_and_is_given_up_after_its_attempts() {
    let models = tempfile::tempdir().unwrap();
    let fleet = brittle_fleet(models.path(), FleetPlan::default());
    let url = fleet.url("/predict?timeout_ms=60000");
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| http::post(&url, &[], &images::solid(FAILING, 0)));
        for number in 0..30 {
            let answer = http::post(&url, &[], &images::solid(30, number));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let answer = failing.join().unwrap();
        assert_eq!(answer.json()["error"]["code"], "dead_lettered", "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("out of data bounds"), "{answer:?}");
    });
    // Counted in whole batches nobody would know; each image that failed did so alone.
    assert_eq!(fleet.worker_metric("shoal_worker_retries_total"), 2.0);
    // A worker counts a job when it has answered.
    eventually("all are counted", || fleet.worker_metric("shoal_worker_jobs_total{outcome=\"prediction\"}") == 30.0);
}

#[test]
fn a_worker_that_fails_everything_returns_its_jobs_and_leaves() {
    let models = tempfile::tempdir().unwrap();
    let plan = FleetPlan { config: "[worker]\nmax_failures = 5\n".into(), ..FleetPlan::default() };
    let mut fleet = brittle_fleet(models.path(), plan);
    let submit = |number| http::post(&fleet.url("/jobs"), &[], &images::solid(FAILING, number));
    let accepted: Vec<_> = (0..12).map(submit).collect();
    let status = fleet.workers[0].wait();
    assert_eq!(status.code(), Some(70), "{status}");
    assert!(fleet.workers[0].log().contains("failed 5 images in a row"), "{}", fleet.workers[0].log());
    // Another one, with more patience, brings them to an end; none is lost and none is stuck.
    let log = fleet.nats.dir().join("patient.log");
    let mut patient = std::process::Command::new(binary("shoal-worker"));
    patient
        .args(["run", "--model", "brittle", "--nats-url", &fleet.nats.url(), "--models-dir"])
        .arg(models.path())
        .env("SHOAL_CONFIG", fleet.nats.config().unwrap())
        .env("SHOAL_WORKER_MAX_FAILURES", "1000");
    let _patient = shoal_testkit::process::Process::start(&mut patient, &log);
    for job in accepted {
        assert_eq!(job.status, 202, "{job:?}");
        let path = format!("/jobs/{}?wait=60", job.json()["id"].as_str().unwrap());
        let answer = http::get(&fleet.url(&path));
        assert_eq!(answer.json()["result"]["error"]["code"], "dead_lettered", "{answer:?}");
    }
}

/// Publisher and dead letters are told of an end by different streams, and the one may be there without the other.
#[test]
fn a_dead_job_stays_until_its_publisher_can_be_told() {
    let models = tempfile::tempdir().unwrap();
    let fleet = brittle_fleet(models.path(), FleetPlan::default());
    Streams::connect(&fleet.nats.url()).delete("RESULTS");
    let job = http::post(&fleet.url("/jobs"), &[], &images::solid(FAILING, 0)).json();
    let job = job["id"].as_str().unwrap();
    eventually("the job has died and nobody could be told", || fleet.workers[0].log().contains("could not be told"));
    provision(&fleet.nats, "brittle");
    let answer = http::get(&fleet.url(&format!("/jobs/{job}?wait=60"))).json();
    assert_eq!(answer["result"]["error"]["code"], "dead_lettered", "{answer}");
    assert_eq!(dead_letters(&fleet).matches(job).count(), 1, "{}", dead_letters(&fleet));
    // Tried as often as is said, and the reason is kept.
    assert_eq!(fleet.worker_metric("shoal_worker_session_failures_total"), 3.0);
    let shown = fleet.shoal(&["dead", "show", job]);
    assert!(shown.contains("attempts     3") && shown.contains("out of data bounds"), "{shown}");
}

/// The broker may be without the stream of results for a while, and the same jobs come back again and again.
#[test]
fn an_outcome_that_cannot_be_stored_is_no_attempt_on_its_job() {
    let models = tempfile::tempdir().unwrap();
    let fleet = brittle_fleet(models.path(), FleetPlan::default());
    Streams::connect(&fleet.nats.url()).delete("RESULTS");
    let job = http::post(&fleet.url("/jobs"), &[], &images::solid(30, 0)).json();
    let returned = || fleet.workers[0].log().matches("the outcome could not be stored").count();
    eventually("the job came back more often than it may be attempted", || returned() > 5);
    provision(&fleet.nats, "brittle");
    let answer = http::get(&fleet.url(&format!("/jobs/{}?wait=60", job["id"].as_str().unwrap()))).json();
    assert_eq!(answer["result"]["prediction"], "dark", "{answer}");
    assert_eq!(dead_letters(&fleet), "no dead letters\n");
}

/// Above eight megabytes a dead letter refers to the upload, and a replay needs it.
#[test]
fn an_upload_stays_as_long_as_only_it_has_the_image_of_a_dead_job() {
    let models = tempfile::tempdir().unwrap();
    let fleet = brittle_fleet(models.path(), FleetPlan::default());
    let streams = Streams::connect(&fleet.nats.url());
    for (padding, messages) in [(2 << 20, 0), (9 << 20, 3)] {
        let image = [images::solid(FAILING, 0), vec![0; padding]].concat();
        let job = http::post(&fleet.url("/jobs"), &[], &image).json()["id"].as_str().unwrap().to_owned();
        let answer = http::get(&fleet.url(&format!("/jobs/{job}?wait=60"))).json();
        assert_eq!(answer["result"]["error"]["code"], "dead_lettered", "{answer}");
        let uploads = || streams.messages("OBJ_shoal_uploads");
        eventually("the upload is there or gone", || uploads() == Some(messages));
        fleet.shoal(&["dead", "replay", &job]);
        eventually("the replayed job has died again", || dead_letters(&fleet).contains(&job));
        let shown = fleet.shoal(&["dead", "show", &job]);
        assert!(shown.contains("out of data bounds"), "{shown}");
        assert_eq!(uploads(), Some(messages));
        fleet.shoal(&["dead", "purge"]);
    }
}
