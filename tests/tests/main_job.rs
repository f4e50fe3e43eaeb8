//! The main job: an image in, a prediction out, over every way in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use futures_util::StreamExt;
use shoal_testkit::clients::Clients;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http::Client;
use shoal_testkit::{http, images};

#[test]
fn every_sample_is_recognised_as_form_and_as_raw_body() {
    let fleet = Fleet::start(FleetPlan::default());
    for digit in 0..10 {
        let image = images::digit(digit);
        let form = http::post_file(&fleet.url("/predict"), "file", "photo.png", &image);
        assert_eq!(form.status, 200, "{form:?}");
        assert_eq!(form.json()["prediction"], digit.to_string());
        assert_eq!(form.json()["cache"], "miss");
        assert!(form.json()["timing_ms"]["infer"].as_f64().unwrap() > 0.0);
        let timing = form.header("server-timing").unwrap();
        assert!(timing.contains("decode;dur=") && timing.contains("total;dur="), "{timing}");
        let raw = http::post(&fleet.url("/predict?top_k=3"), &[], &image);
        assert_eq!(raw.json()["prediction"], digit.to_string());
        assert_eq!(raw.json()["top"].as_array().unwrap().len(), 3);
        assert_eq!((raw.json()["cache"].as_str(), raw.header("x-cache")), (Some("hit"), Some("HIT")));
        assert!(raw.json()["image_file_name"].as_str().unwrap().ends_with(".png"));
    }
    assert_eq!(fleet.worker_metric("shoal_worker_images_total"), 10.0);
}

#[test]
fn what_is_not_there_is_said_precisely() {
    let fleet = Fleet::start(FleetPlan::default());
    let image = images::digit(1);
    let cases = [
        (http::post(&fleet.url("/predict?model=resnet99"), &[], &image), 404, "unknown_model"),
        (http::post(&fleet.url("/predict?model=a.b"), &[], &image), 400, "bad_request"),
        (http::post(&fleet.url("/predict?top_k=0"), &[], &image), 400, "bad_request"),
        (http::post(&fleet.url("/predict?timeout_ms=soon"), &[], &image), 400, "bad_request"),
        (http::get(&fleet.url("/nowhere")), 404, "not_found"),
        (http::get(&fleet.url("/predict")), 405, "method_not_allowed"),
        (http::get(&fleet.url("/predictions/xyz")), 400, "bad_request"),
    ];
    for (response, status, code) in cases {
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.json()["error"]["code"], code);
        assert_eq!(response.json()["success"], false);
        assert!(response.json()["detail"].as_str().unwrap().len() > 10);
    }
}

#[test]
fn two_hundred_uploads_at_once_each_get_their_own_answer() {
    let fleet = Fleet::start(FleetPlan { workers: 2, ..FleetPlan::default() });
    let url = fleet.url("/predict");
    std::thread::scope(|scope| {
        for number in 0..200u32 {
            let url = &url;
            scope.spawn(move || {
                let digit = (number % 10) as u8;
                let image = images::digit_variant(digit, number);
                let answer = http::post_file(url, "file", "same-name.png", &image);
                assert_eq!(answer.status, 200, "{answer:?}");
                let json = answer.json();
                assert_eq!(json["image_sha256"], shoal_shared::digest::ImageSha256::of(&image).to_string());
                assert_eq!(json["prediction"], digit.to_string(), "upload {number}");
                assert_eq!(json["cache"], "miss");
            });
        }
    });
    assert_eq!(fleet.worker_metric("shoal_worker_images_total"), 200.0);
}

#[test]
fn an_upload_too_large_for_a_message_travels_as_an_object_and_leaves_nothing_behind() {
    let fleet = Fleet::start(FleetPlan::default());
    // Noise does not compress: about 3 MB of PNG. What it shows does not matter.
    let mut state = 1u32;
    let noise = image::RgbImage::from_fn(1000, 1000, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    });
    let image = images::encode(&image::DynamicImage::ImageRgb8(noise), image::ImageFormat::Png);
    assert!(image.len() > 2 << 20);
    let answer = http::post(&fleet.url("/predict"), &[], &image);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = http::post(&fleet.url("/predict"), &[("Cache-Control", "no-store")], &image);
    assert_eq!(answer.json()["cache"], "miss");
    if let Some(cli) = shoal_shared::locate::nats_cli() {
        shoal_testkit::eventually("the objects are removed", || {
            let list = std::process::Command::new(&cli)
                .args(["--server", &fleet.nats.url(), "object", "ls", "shoal_uploads", "--names"])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&list.stdout).into_owned();
            text.trim().is_empty() || text.contains("No entries")
        });
    }
}

/// More than a server lets anybody read in half a minute when every object takes a consumer of its own.
#[test]
fn thousands_of_large_uploads_are_all_read() {
    let config = "[gateway]\ninline_bytes = 2000\n".to_owned();
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    let url = fleet.url("/predict");
    let ask = |client: &Client, _, request: u32| client.post(&url, &images::noise(40, request.into()));
    let asked = Clients::during(8, ask, |clients| clients.until("2000 are answered", || clients.asked() >= 2000));
    assert!(asked >= 2000);
}

/// What a gateway has hashed is not hashed again, and nobody else can say that something has been.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_a_gateway_s_word_for_a_digest_and_nobody_else_s() {
    let fleet = tokio::task::block_in_place(|| Fleet::start(FleetPlan::default()));
    let client = async_nats::connect(fleet.nats.url()).await.unwrap();
    let mut jobs = client.subscribe("jobs.digits.interactive").await.unwrap();
    client.flush().await.unwrap();
    let vouched = || fleet.worker_metric("shoal_worker_digests_vouched_total");
    let ask = |side: u32, seed: u64| {
        let image = images::noise(side, seed);
        let answer = http::post(&fleet.url("/predict"), &[], &image);
        let sha256 = shoal_shared::digest::ImageSha256::of(&image).to_string();
        assert_eq!((answer.status, answer.json()["image_sha256"].as_str()), (200, Some(sha256.as_str())), "{answer:?}");
    };
    tokio::task::block_in_place(|| {
        // The first job of a gateway makes the worker ask for its key.
        let mut seeds = 0..;
        shoal_testkit::eventually("the gateway is believed", || {
            ask(60, seeds.next().unwrap());
            vouched() > 0.0
        });
        let before = vouched();
        ask(70, 1);
        assert_eq!(vouched(), before + 1.0);
        // An object, which may have been replaced; and a small image, which is hashed in no time.
        ask(700, 1);
        ask(10, 1);
        assert_eq!(vouched(), before + 1.0);
    });

    let job = jobs.next().await.unwrap().headers.unwrap();
    let word = job.get("Shoal-Vouch").unwrap().as_str();
    let (gateway, mac) = word.split_once('.').unwrap();
    let digest = job.get("Shoal-Digest").unwrap().as_str();
    let invented = format!("{gateway}.{}", "0".repeat(mac.len()));
    for (id, word) in [("forged", invented.as_str()), ("replayed", word), ("stranger", &format!("nobody.{mac}"))] {
        let mut inbox = client.subscribe(format!("_INBOX.{id}")).await.unwrap();
        let mut headers = async_nats::HeaderMap::new();
        let said = [("Shoal-Job", id), ("Shoal-Digest", digest), ("Shoal-Vouch", word)];
        said.iter().for_each(|(name, value)| headers.insert(*name, *value));
        headers.insert("Shoal-Reply", format!("_INBOX.{id}"));
        client.publish_with_headers("jobs.digits.bulk", headers, images::noise(60, 1_000_000).into()).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&inbox.next().await.unwrap().payload).unwrap();
        assert_eq!(answer["error"]["code"], "digest_mismatch", "{id}: {answer}");
    }
}
