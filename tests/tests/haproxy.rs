//! HAProxy in front of three gateways, with the configuration that ships.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::haproxy::{self, Haproxy};
use shoal_testkit::http::Client;
use shoal_testkit::{eventually, images};

const SKIPPED: &str = "skipped: no haproxy here (`deploy/setup.sh --tests` fetches Debian's where it can)";

fn three_gateways(config: &str) -> Fleet {
    let mut fleet = Fleet::start(FleetPlan { config: config.to_owned(), ..FleetPlan::default() });
    (0..2).for_each(|_| fleet.add_gateway());
    fleet.wait_ready(1);
    fleet
}

#[test]
fn a_killed_gateway_fails_no_request() {
    if haproxy::program().is_none() {
        return eprintln!("{SKIPPED}");
    }
    let mut fleet = three_gateways("");
    let haproxy = Haproxy::start(&fleet, "round_robin").unwrap();
    let (stop, number, failed) = (AtomicBool::new(false), AtomicU32::new(0), parking_lot::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = Client::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let image = images::digit_variant((number % 10) as u8, number);
                    let answer = client.try_post(&format!("{}/predict", haproxy.url), &[], &image);
                    if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                        failed.lock().push(format!("{answer:?}"));
                    }
                }
            });
        }
        for killed in 0..3 {
            let before = number.load(Ordering::Relaxed);
            eventually("requests flow", || number.load(Ordering::Relaxed) > before + 200);
            fleet.gateways[killed].0.kill();
            let before = number.load(Ordering::Relaxed);
            eventually("requests flow without it", || number.load(Ordering::Relaxed) > before + 200);
            fleet.restart_gateway(killed);
            eventually("HAProxy takes it back", || haproxy.up("round_robin") == 3);
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{} requests, 3 gateways killed", number.load(Ordering::Relaxed));
    assert_eq!(failed.into_inner(), Vec::<String>::new());
}

/// Three memories that hold a quarter of the images each: one after the other they hold the same quarter, by image
/// three different ones.
#[test]
fn gateways_chosen_by_image_remember_more() {
    if haproxy::program().is_none() {
        return eprintln!("{SKIPPED}");
    }
    let [in_turn, by_image] = ["round_robin", "by_image"].map(|balance| {
        let fleet = three_gateways("[gateway.cache]\nmax_bytes = 100000\n");
        let haproxy = Haproxy::start(&fleet, balance).unwrap();
        hit_ratio(&format!("{}/predict", haproxy.url))
    });
    println!("answered from a gateway's own memory: in turn {in_turn:.3}, by image {by_image:.3}");
    assert!(by_image > in_turn + 0.1, "in turn {in_turn:.3}, by image {by_image:.3}");
}

/// Every form has a boundary of its own, and the same image in it.
#[test]
fn the_same_image_in_another_form_goes_to_the_same_gateway() {
    if haproxy::program().is_none() {
        return eprintln!("{SKIPPED}");
    }
    let fleet = three_gateways("");
    let haproxy = Haproxy::start(&fleet, "by_image").unwrap();
    let image = images::noise(80, 1);
    let answers = (0..9).map(|number| {
        let boundary = format!("----boundary-{number}");
        let mut body =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n")
                .into_bytes();
        body.extend_from_slice(&image);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let answer = Client::new().try_post(&format!("{}/predict", haproxy.url), &[("Content-Type", &kind)], &body);
        answer.unwrap().json()["cache"].as_str().unwrap_or_default().to_owned()
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(
        (answers[0].as_str(), answers.iter().filter(|cache| *cache == "hit").count()),
        ("miss", 8),
        "{answers:?}"
    );
}

/// Part of the requests that the asked gateway's memory answers; images of a Zipf mix.
fn hit_ratio(url: &str) -> f64 {
    const IMAGES: usize = 800;
    const REQUESTS: usize = 4000;
    let weights: Vec<f64> = (1..=IMAGES).map(|rank| 1.0 / (rank as f64).powf(0.8)).collect();
    let total: f64 = weights.iter().sum();
    let mut rng = fastrand::Rng::with_seed(7);
    let client = Client::new();
    let mut hits = 0;
    for _ in 0..REQUESTS {
        let mut left = rng.f64() * total;
        let image = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        let image = image.unwrap_or(IMAGES - 1) as u32;
        let answer = client.post(url, &images::digit_variant((image % 10) as u8, image));
        assert_eq!(answer.status, 200, "{answer:?}");
        hits += usize::from(answer.json()["cache"] == "hit");
    }
    hits as f64 / REQUESTS as f64
}
