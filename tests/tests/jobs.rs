//! Asynchronous jobs over HTTP: accepted, waited for, cancelled, expired; one outcome each.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;
use shoal_testkit::bus::Streams;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::{eventually, http, images};

fn submit(fleet: &Fleet, query: &str, image: &[u8]) -> String {
    let accepted = http::post(&fleet.url(&format!("/jobs{query}")), &[], image);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.header("location"), Some(format!("/jobs/{id}").as_str()));
    assert_eq!(accepted.json()["state"], "accepted");
    id
}

fn job(fleet: &Fleet, id: &str, query: &str) -> Value {
    let found = http::get(&fleet.url(&format!("/jobs/{id}{query}")));
    assert_eq!(found.status, 200, "{found:?}");
    found.json()
}

fn kill_worker(fleet: &mut Fleet) {
    fleet.workers[0].kill();
    eventually("the gateway notices", || http::get(&fleet.url("/readyz")).json()["workers"] == 0);
}

#[test]
fn a_job_is_accepted_and_its_outcome_found_by_any_gateway() {
    let mut fleet = Fleet::start(FleetPlan::default());
    fleet.add_gateway();
    fleet.wait_ready(1);
    let ids: Vec<String> = (0..10).map(|digit| submit(&fleet, "?top_k=2", &images::digit(digit))).collect();
    for (digit, id) in ids.iter().enumerate() {
        let url = format!("{}/jobs/{id}?wait=30", fleet.gateways[digit % 2].1);
        let done = http::get(&url).json();
        assert_eq!(done["state"], "done", "{done}");
        assert_eq!(done["result"]["prediction"], digit.to_string());
        assert_eq!(done["result"]["top"].as_array().unwrap().len(), 2);
    }
    // A large one goes by the object store.
    let large = images::encode(&image::DynamicImage::new_rgb8(900, 900), image::ImageFormat::Bmp);
    let id = submit(&fleet, "", &large);
    assert_eq!(job(&fleet, &id, "?wait=30")["state"], "done");
}

#[test]
fn a_job_that_has_not_started_can_be_cancelled_and_one_that_ended_cannot() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let done = submit(&fleet, "", &images::digit(1));
    assert_eq!(job(&fleet, &done, "?wait=30")["state"], "done");
    let too_late = http::delete(&fleet.url(&format!("/jobs/{done}")));
    assert_eq!((too_late.status, too_late.json()["state"].as_str()), (409, Some("done")));

    kill_worker(&mut fleet);
    let id = submit(&fleet, "", &images::digit(2));
    assert_eq!(job(&fleet, &id, "")["state"], "accepted");
    let cancelled = http::delete(&fleet.url(&format!("/jobs/{id}")));
    assert_eq!((cancelled.status, cancelled.json()["state"].as_str()), (200, Some("cancelled")));
    fleet.add_worker();
    fleet.wait_ready(1);
    let after = submit(&fleet, "", &images::digit(3));
    assert_eq!(job(&fleet, &after, "?wait=30")["state"], "done");
    assert_eq!(job(&fleet, &id, "")["state"], "cancelled");
    assert_eq!(fleet.worker_metric("shoal_worker_images_total"), 1.0);
}

/// Sends a request whole and hangs up.
fn ask_and_hang_up(fleet: &Fleet, path: &str, image: &[u8]) {
    let mut stream = TcpStream::connect(fleet.gateways[0].1.trim_start_matches("http://")).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\n\r\n", image.len()).unwrap();
    stream.write_all(image).unwrap();
}

#[test]
fn whoever_hangs_up_leaves_a_job_behind_or_nothing() {
    let fleet = Fleet::start(FleetPlan::default());
    let streams = Streams::connect(&fleet.nats.url());
    let image = |number: u32| [images::digit_variant(4, number), vec![0; 3 << 20]].concat();
    for path in ["/jobs", "/predict"] {
        for number in 0..20 {
            ask_and_hang_up(&fleet, path, &image(number));
        }
    }
    // Nothing is on its way any more once later uploads are answered.
    let after = submit(&fleet, "", &image(100));
    assert_eq!(job(&fleet, &after, "?wait=30")["state"], "done");
    eventually("every job has ended", || streams.messages("JOBS") == Some(0));
    eventually("no upload is left", || streams.messages("OBJ_shoal_uploads") == Some(0));
}

#[test]
fn an_expired_job_is_never_run_and_says_so() {
    let mut fleet = Fleet::start(FleetPlan::default());
    kill_worker(&mut fleet);
    let read = submit(&fleet, "?timeout_ms=50", &images::digit(4));
    let unread = submit(&fleet, "?timeout_ms=50", &images::digit(5));
    eventually("the deadline has passed", || job(&fleet, &read, "?wait=1")["state"] == "expired");
    fleet.add_worker();
    fleet.wait_ready(1);
    // The worker finds the other one, and leaves it.
    let expired = job(&fleet, &unread, "?wait=30");
    assert_eq!(
        (expired["state"].as_str(), &expired["result"]["error"]["code"]),
        (Some("expired"), &"deadline_exceeded".into())
    );
    assert_eq!(fleet.worker_metric("shoal_worker_images_total"), 0.0);
}

#[test]
fn what_is_not_there_is_404_and_what_is_no_image_is_refused_at_the_door() {
    let fleet = Fleet::start(FleetPlan::default());
    assert_eq!(http::get(&fleet.url("/jobs/nosuchjob")).status, 404);
    assert_eq!(http::get(&fleet.url("/jobs/..%2f..%2fetc")).status, 404);
    assert_eq!(http::delete(&fleet.url("/jobs/nosuchjob")).status, 404);
    assert_eq!(http::post(&fleet.url("/jobs"), &[], b"no image").status, 400);
    assert_eq!(http::post(&fleet.url("/jobs?model=nosuch"), &[], &images::digit(1)).status, 404);
    assert_eq!(http::post(&fleet.url("/jobs?lane=slow"), &[], &images::digit(1)).status, 400);
}
