//! Killing things: nothing accepted is lost, and what cannot be answered is refused at once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shoal_testkit::fleet::{Fleet, FleetPlan, metric};
use shoal_testkit::{eventually, http, images, models};

#[test]
fn jobs_of_a_killed_worker_are_done_by_another() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let url = fleet.url("/predict?timeout_ms=60000");
    let answers = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..60u32)
            .map(|number| {
                let url = &url;
                scope.spawn(move || http::post(url, &[], &images::digit_variant((number % 10) as u8, number)))
            })
            .collect();
        fleet.workers[0].kill();
        fleet.add_worker();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["prediction"], (number % 10).to_string());
    }
}

#[test]
fn without_nats_the_answer_is_503_at_once_cached_images_still_answer_and_all_recovers() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let known = images::digit(6);
    assert_eq!(http::post(&fleet.url("/predict"), &[], &known).status, 200);
    fleet.nats.kill();
    eventually("readiness turns red", || !http::is_ok(&fleet.url("/readyz")));
    let begun = Instant::now();
    let refused = http::post(&fleet.url("/predict?timeout_ms=60000"), &[], &images::digit(7));
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (503, Some("no_capacity")));
    assert!(begun.elapsed() < Duration::from_secs(30), "refused by the state, not by the deadline");
    assert_eq!(http::post(&fleet.url("/predict"), &[], &known).header("x-cache"), Some("HIT"));
    assert!(http::is_ok(&fleet.url("/healthz")));

    fleet.nats.restart();
    fleet.wait_ready(1);
    let answer = http::post(&fleet.url("/predict"), &[], &images::digit(7));
    assert_eq!(answer.json()["prediction"], "7");
}

#[test]
fn without_a_worker_the_answer_is_503_at_once() {
    let mut fleet = Fleet::start(FleetPlan::default());
    fleet.workers[0].kill();
    eventually("the gateway notices", || http::get(&fleet.url("/readyz")).json()["workers"] == 0);
    let refused = http::post(&fleet.url("/predict"), &[], &images::digit(1));
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (503, Some("no_capacity")));
    fleet.add_worker();
    fleet.wait_ready(1);
    assert_eq!(http::post(&fleet.url("/predict"), &[], &images::digit(1)).status, 200);
}

#[test]
fn clients_that_hang_up_take_their_jobs_along() {
    use std::io::Write;
    // A model slow enough for a queue to form.
    let models = tempfile::tempdir().unwrap();
    let model = models::add_resnet50(models.path(), true);
    let fleet = Fleet::start(FleetPlan { model, models_dir: Some(models.path().into()), ..FleetPlan::default() });
    let address = fleet.url("").trim_start_matches("http://").to_owned();
    const CLIENTS: u32 = 200;
    let streams: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let image = images::digit_variant(9, number);
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            let head = format!("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", image.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&image).unwrap();
            stream
        })
        .collect();
    let in_flight = || metric(&fleet.url("/metrics"), "shoal_gateway_in_flight");
    eventually("jobs are in flight", || in_flight() > 100.0);
    drop(streams);
    eventually("the gateway has let go of them", || in_flight() == 0.0);
    // Whoever comes now does not wait behind the dead.
    assert_eq!(http::post(&fleet.url("/predict"), &[], &images::digit(8)).status, 200);
    let inferred = fleet.worker_metric("shoal_worker_images_total");
    assert!(inferred < f64::from(CLIENTS) * 0.8, "{inferred} of {CLIENTS} were computed for nobody");
}

#[test]
fn a_deadline_is_kept_by_timer() {
    let fleet = Fleet::start(FleetPlan::default());
    fleet.workers[0].signal(Signal::STOP);
    let late = http::post(&fleet.url("/predict?timeout_ms=300"), &[], &images::digit(3));
    assert_eq!((late.status, late.json()["error"]["code"].as_str()), (504, Some("deadline_exceeded")));
    fleet.workers[0].signal(Signal::CONT);
}

#[test]
fn a_drained_worker_finishes_what_it_holds() {
    let mut fleet = Fleet::start(FleetPlan { workers: 2, ..FleetPlan::default() });
    let url = fleet.url("/predict");
    std::thread::scope(|scope| {
        for number in 0..100u32 {
            let url = &url;
            scope.spawn(move || {
                let answer = http::post(url, &[], &images::digit_variant((number % 10) as u8, number));
                assert_eq!(answer.status, 200, "{answer:?}");
            });
        }
        fleet.workers[0].signal(Signal::TERM);
        assert!(fleet.workers[0].wait().success());
    });
    assert!(fleet.workers[0].log().contains("drained"));
}

#[test]
fn a_nats_that_hangs_does_not_pile_up_memory() {
    let config = "[gateway]\nmax_in_flight_bytes = 33554432\n".to_owned();
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    let url = fleet.url("/predict?timeout_ms=1500");
    let gateway = &fleet.gateways[0].0;
    let before = gateway.peak_memory();
    fleet.nats.signal_node(0, Signal::STOP);
    // 200 uploads of 270 KB, three times over: 160 MB in all.
    std::thread::scope(|scope| {
        for client in 0..200u64 {
            let url = &url;
            scope.spawn(move || {
                for round in 0..3 {
                    let answer = http::post(url, &[], &images::noise(300, client * 3 + round));
                    assert!([429, 503, 504].contains(&answer.status), "{answer:?}");
                }
            });
        }
    });
    let grown = gateway.peak_memory().saturating_sub(before);
    assert!(grown < 160 << 20, "the gateway grew by {} MiB", grown >> 20);
    fleet.nats.signal_node(0, Signal::CONT);
    eventually("all recovers", || http::post(&fleet.url("/predict"), &[], &images::digit(7)).status == 200);
    eventually("nothing is held any more", || {
        metric(&fleet.url("/metrics"), "shoal_gateway_in_flight") == 0.0
            && metric(&fleet.url("/metrics"), "shoal_gateway_in_flight_bytes") == 0.0
    });
}

#[test]
fn a_nats_that_hangs_is_told_from_one_that_is_slow_and_asked_now_and_then() {
    let fleet = Fleet::start(FleetPlan::default());
    let jobs = fleet.url("/jobs");
    assert_eq!(http::get(&jobs).status, 200);
    fleet.nats.signal_node(0, Signal::STOP);
    let is_told = || {
        let answer = http::get(&jobs);
        // A process does not stop at once when it is told to.
        answer.status == 503
            && answer.json()["error"]["message"].as_str().unwrap_or_default().contains("does not answer")
    };
    eventually("the gateway notices", is_told);
    let begun = Instant::now();
    assert!((0..20).all(|_| is_told()));
    assert!(begun.elapsed() < Duration::from_secs(50), "each of 20 waited for itself");
    fleet.nats.signal_node(0, Signal::CONT);
    eventually("all recovers", || http::get(&jobs).status == 200);
}
