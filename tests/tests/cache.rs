//! The cache layer: never infer the same image twice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::collections::HashMap;
use std::process::Command;

use rustix::process::Signal;
use shoal_shared::digest::{ImageMd5, ImageSha256};
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::process::binary;
use shoal_testkit::{eventually, http, images};

fn images_inferred(fleet: &Fleet) -> f64 {
    fleet.worker_metric("shoal_worker_images_total")
}

#[test]
fn a_gateway_that_starts_later_is_warm() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let image = images::digit(2);
    assert_eq!(http::post(&fleet.url("/predict"), &[], &image).header("x-cache"), Some("MISS"));
    fleet.gateways.remove(0).0.kill();
    fleet.add_gateway();
    fleet.wait_ready(1);
    let first = http::post(&fleet.url("/predict"), &[], &image);
    assert_eq!((first.header("x-cache"), first.json()["cache"].as_str()), (Some("SHARED"), Some("shared")));
    assert!(first.header("age").is_some());
    assert_eq!(http::post(&fleet.url("/predict"), &[], &image).header("x-cache"), Some("HIT"));
    assert_eq!(images_inferred(&fleet), 1.0);
}

#[test]
fn a_thousand_requests_for_one_new_image_over_two_gateways_cost_one_inference() {
    let mut fleet = Fleet::start(FleetPlan { workers: 2, ..FleetPlan::default() });
    fleet.add_gateway();
    fleet.wait_ready(2);
    let image = images::digit(5);
    // The workers stand still until many wait at both gateways for the same flight. The others come while it lands.
    fleet.workers.iter().for_each(|worker| worker.signal(Signal::STOP));
    let sources = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..1000)
            .map(|number| {
                let (url, image) = (format!("{}/predict", fleet.gateways[number % 2].1), &image);
                scope.spawn(move || {
                    let answer = http::post(&url, &[], image);
                    assert_eq!((answer.status, answer.json()["prediction"].as_str()), (200, Some("5")), "{answer:?}");
                    answer.header("x-cache").unwrap().to_owned()
                })
            })
            .collect();
        let many = 100.0 * image.len() as f64;
        for (_, base) in &fleet.gateways {
            let held = || shoal_testkit::fleet::metric(&format!("{base}/metrics"), "shoal_gateway_in_flight_bytes");
            eventually("many wait", || held() > many);
        }
        fleet.workers.iter().for_each(|worker| worker.signal(Signal::CONT));
        asking.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(images_inferred(&fleet), 1.0);
    assert_eq!(sources.iter().filter(|source| *source == "MISS").count(), 1);
    assert!(sources.iter().any(|source| source == "COALESCED"), "nobody joined: the requests did not overlap");
}

#[test]
fn a_gateway_that_dies_while_computing_is_replaced_by_the_one_that_waits() {
    let mut fleet = Fleet::start(FleetPlan::default());
    fleet.add_gateway();
    fleet.wait_ready(1);
    // The worker stands still, so the first gateway's flight is in the air when it dies.
    fleet.workers[0].signal(Signal::STOP);
    let image = images::digit(7);
    let urls: Vec<String> = fleet.gateways.iter().map(|(_, base)| format!("{base}/predict?timeout_ms=60000")).collect();
    std::thread::scope(|scope| {
        let (first, second, image) = (&urls[0], &urls[1], &image);
        scope.spawn(move || drop(http::try_post(first, &[], image)));
        let in_flight = |at: usize| {
            let url = format!("{}/metrics", fleet.gateways[at].1);
            shoal_testkit::fleet::metric(&url, "shoal_gateway_in_flight")
        };
        eventually("the first gateway's job is published", || in_flight(0) == 1.0);
        let waiting = scope.spawn(move || http::post(second, &[], image));
        std::thread::sleep(std::time::Duration::from_millis(300));
        fleet.gateways[0].0.signal(Signal::KILL);
        fleet.workers[0].signal(Signal::CONT);
        let answer = waiting.join().unwrap();
        assert_eq!((answer.status, answer.json()["prediction"].as_str()), (200, Some("7")), "{answer:?}");
    });
}

#[test]
fn one_byte_makes_another_key_and_any_top_k_is_a_hit() {
    let fleet = Fleet::start(FleetPlan::default());
    let image = images::digit(3);
    let mut other = image.clone();
    other.push(0);
    let url = |query: &str| fleet.url(&format!("/predict{query}"));
    assert_eq!(http::post(&url("?top_k=1"), &[], &image).header("x-cache"), Some("MISS"));
    assert_eq!(http::post(&url(""), &[], &other).header("x-cache"), Some("MISS"));
    let wide = http::post(&url("?top_k=10"), &[], &image);
    assert_eq!((wide.header("x-cache"), wide.json()["top"].as_array().unwrap().len()), (Some("HIT"), 10));
    assert_eq!(wide.json()["image_sha256"], ImageSha256::of(&image).to_string());
    assert_eq!(wide.json()["image_file_name"], format!("{}.png", ImageMd5::of(&image)));
}

#[test]
fn http_says_what_is_cached_and_takes_orders() {
    let fleet = Fleet::start(FleetPlan::default());
    let image = images::digit(4);
    let url = fleet.url("/predict");
    let digest = ImageSha256::of(&image);
    let by_digest = fleet.url(&format!("/predictions/{digest}"));
    assert_eq!(http::get(&by_digest).status, 404);
    let first = http::post(&url, &[("Cache-Control", "no-store")], &image);
    assert_eq!(first.header("x-cache"), Some("MISS"));
    assert_eq!(http::get(&by_digest).status, 404, "no-store is kept nowhere");
    assert_eq!(http::post(&url, &[], &image).header("x-cache"), Some("MISS"));
    assert_eq!(http::post(&url, &[("Cache-Control", "no-cache")], &image).header("x-cache"), Some("MISS"));
    let tag = first.header("etag").unwrap().to_owned();
    let unchanged = http::post(&url, &[("If-None-Match", &tag)], &image);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let known = http::get(&by_digest);
    assert_eq!((known.status, known.json()["prediction"].as_str()), (200, Some("4")));
    assert_eq!(http::get(&fleet.url(&format!("/predictions/{digest}?model=nonesuch"))).status, 404);
    assert_eq!(images_inferred(&fleet), 3.0);
}

#[test]
fn what_is_no_image_is_remembered_for_a_while() {
    let fleet = Fleet::start(FleetPlan::default());
    let image = images::digit(1);
    let cut = &image[..image.len() / 2];
    for _ in 0..3 {
        assert_eq!(http::post(&fleet.url("/predict"), &[], cut).status, 400);
    }
    let hits = shoal_testkit::fleet::metric(&fleet.url("/metrics"), "shoal_gateway_cache_negative_hits_total");
    assert_eq!(hits, 2.0, "the second and the third were answered from memory");
    let failed = fleet.worker_metric("shoal_worker_jobs_total{outcome=\"corrupt_image\"}");
    assert_eq!(failed, 1.0);
}

#[test]
fn a_purge_reaches_every_gateway() {
    let mut fleet = Fleet::start(FleetPlan::default());
    fleet.add_gateway();
    fleet.wait_ready(1);
    let image = images::digit(9);
    let ask = |at: usize| {
        let answer = http::post(&format!("{}/predict", fleet.gateways[at].1), &[], &image);
        answer.header("x-cache").unwrap().to_owned()
    };
    let shoal = |args: &[&str]| {
        let output = Command::new(binary("shoal")).args(args).args(["--nats-url", &fleet.nats.url()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The other gateway has it from the bucket, or, if it has not yet heard that it is there, from the claim.
    let known = |source: &str| ["SHARED", "COALESCED"].contains(&source);
    let [first, other, again, other_again] = [ask(0), ask(1), ask(0), ask(1)];
    assert_eq!([first.as_str(), &again, &other_again], ["MISS", "HIT", "HIT"]);
    assert!(known(&other), "{other}");
    let stats = shoal(&["cache", "stats"]);
    assert!(stats.contains("shared cache: 1 predictions"), "{stats}");
    assert_eq!(stats.matches("1 hit").count(), 2, "{stats}");
    for scope in [&["cache", "purge"][..], &["cache", "purge", "--model", "digits"]] {
        assert!(shoal(scope).contains("forgot 1 "));
        let mut source = String::new();
        eventually("the gateway has forgotten", || {
            source = ask(0);
            source != "HIT"
        });
        assert_eq!(source, "MISS");
        let other = ask(1);
        assert!(known(&other), "{other}");
    }
}

#[test]
fn the_same_image_under_two_models_is_two_keys() {
    let models = tempfile::tempdir().unwrap();
    let folder = models.path().join("paler");
    let digits = shoal_testkit::process::repository().join("worker/models/digits");
    std::fs::create_dir(&folder).unwrap();
    for file in ["digits.onnx", "labels.txt"] {
        std::fs::copy(digits.join(file), folder.join(file)).unwrap();
    }
    let manifest = std::fs::read_to_string(digits.join("manifest.toml")).unwrap();
    let paler = manifest.replace("\"digits\"", "\"paler\"").replace("scale = 0.0039", "scale = 0.0036");
    std::fs::write(folder.join("manifest.toml"), paler).unwrap();

    let models_dir = Some(models.path().to_owned());
    let mut fleet = Fleet::start(FleetPlan { models_dir, ..FleetPlan::default() });
    shoal_testkit::fleet::provision(&fleet.nats, "paler");
    fleet.add_worker_for("paler");
    fleet.wait_ready(2);
    let image = images::digit(8);
    let ask = |model: &str| http::post(&fleet.url(&format!("/predict?model={model}")), &[], &image);
    let (one, other) = (ask("digits"), ask("paler"));
    assert_eq!((one.header("x-cache"), other.header("x-cache")), (Some("MISS"), Some("MISS")));
    assert_ne!(one.header("etag"), other.header("etag"));
    assert_ne!(one.json()["top"], other.json()["top"]);
    assert_eq!(
        (ask("digits").json()["top"].clone(), ask("paler").json()["top"].clone()),
        (one.json()["top"].clone(), other.json()["top"].clone())
    );
}

#[test]
fn a_worker_answers_a_known_image_from_the_cache() {
    let Some(cli) = shoal_shared::locate::nats_cli() else { return eprintln!("skipped: no `nats` command here") };
    let fleet = Fleet::start(FleetPlan::default());
    assert_eq!(http::post(&fleet.url("/predict"), &[], &images::digit(5)).status, 200);
    let picture = fleet.nats.dir().join("5.png");
    std::fs::write(&picture, images::digit(5)).unwrap();
    let nats = |args: &[&str]| {
        let mut command = Command::new(&cli);
        command.args(["--server", &fleet.nats.url()]).args(args).stdin(std::fs::File::open(&picture).unwrap());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    nats(&["pub", "-J", "jobs.digits.bulk", "--force-stdin", "--no-templates", "-H", "Shoal-Job:again"]);
    eventually("the published job has its result", || {
        nats(&["stream", "get", "RESULTS", "--last-for", "results.again"]).contains("\"prediction\":\"5\"")
    });
    assert_eq!(images_inferred(&fleet), 1.0);
}

#[test]
fn md5_may_be_the_key() {
    let setting = |section: &str| (format!("SHOAL_{section}_NATS__TOPOLOGY__DIGEST"), "md5".to_owned());
    let fleet = Fleet::start(FleetPlan {
        gateway_env: vec![setting("GATEWAY")],
        worker_env: vec![setting("WORKER")],
        ..FleetPlan::default()
    });
    let image = images::digit(6);
    for source in ["MISS", "HIT"] {
        let answer = http::post(&fleet.url("/predict"), &[], &image);
        assert_eq!(answer.header("x-cache"), Some(source));
        assert_eq!(answer.json()["image_sha256"], ImageSha256::of(&image).to_string());
        assert_eq!(answer.json()["image_file_name"], format!("{}.png", ImageMd5::of(&image)));
    }
    let known = http::get(&fleet.url(&format!("/predictions/{}", ImageMd5::of(&image))));
    assert_eq!(known.json()["prediction"], "6");
    let wrong = http::get(&fleet.url(&format!("/predictions/{}", ImageSha256::of(&image))));
    assert_eq!(wrong.json()["detail"], "the digest must be the image's MD5 in hexadecimal");
}

/// A trace of image numbers, Zipf(1.0): the r-th most popular comes with weight 1/r.
fn zipf(images: usize, requests: usize) -> Vec<u32> {
    let weights: Vec<f64> = (1..=images).map(|rank| 1.0 / rank as f64).collect();
    let total: f64 = weights.iter().sum();
    let cumulative: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        })
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..requests)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
            cumulative.partition_point(|&sum| sum < uniform).min(images - 1) as u32
        })
        .collect()
}

#[test]
fn the_hit_ratio_under_zipf_is_what_the_policy_can_reach() {
    const IMAGES: usize = 10_000;
    const ROOM: u64 = 1_000;
    const REQUESTS: usize = 20_000;
    let trace = zipf(IMAGES, REQUESTS);
    let offline = moka::sync::Cache::<u32, ()>::builder().max_capacity(ROOM).build();
    let expected = trace.iter().filter(|&&image| {
        let hit = offline.get(&image).is_some();
        if !hit {
            offline.insert(image, ());
        }
        hit
    });
    let expected = expected.count() as f64 / REQUESTS as f64;

    // Entries of the digit model weigh 560 bytes and 24 for each of ten classes.
    let room = ROOM * (560 + 10 * 24);
    let fleet = Fleet::start(FleetPlan {
        gateway_env: vec![("SHOAL_GATEWAY_CACHE__MAX_BYTES".into(), room.to_string())],
        ..FleetPlan::default()
    });
    let mut pictures: HashMap<u32, Vec<u8>> = HashMap::new();
    let agent = http::Client::new();
    let mut hits = 0;
    for number in trace {
        let image = pictures.entry(number).or_insert_with(|| images::digit_variant((number % 10) as u8, number));
        let answer = agent.post(&fleet.url("/predict"), image);
        assert_eq!(answer.status, 200, "{answer:?}");
        hits += usize::from(answer.header("x-cache") == Some("HIT"));
    }
    let reached = hits as f64 / REQUESTS as f64;
    println!("hit ratio under Zipf(1.0), {IMAGES} images, room for {ROOM}: {reached:.4}, moka offline {expected:.4}");
    assert!((reached - expected).abs() <= 0.03, "{reached} against {expected}");
}
