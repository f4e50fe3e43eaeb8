//! Many images in one request: in order, each for itself, streamed both ways, within bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;
use shoal_testkit::fleet::{Fleet, FleetPlan, metric};
use shoal_testkit::http::{self, Response};
use shoal_testkit::mutate::{Mutator, folder};
use shoal_testkit::process::repository;
use shoal_testkit::{eventually, images, models};

const FORM: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=XX");
const LINES: (&str, &str) = ("Accept", "application/x-ndjson");

/// One part of a form, with what ends the part before it.
fn part(field: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--XX\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let parts: Vec<u8> = files.iter().flat_map(|(name, content)| part("file", name, content)).collect();
    [parts, b"--XX--\r\n".to_vec()].concat()
}

fn variants(count: u32) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|number| (format!("{number}.png"), images::digit_variant((number % 10) as u8, number))).collect()
}

fn items(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    match answer.header("content-type") {
        Some("application/x-ndjson") => {
            let text = std::str::from_utf8(&answer.body).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
        _ => answer.json().as_array().unwrap().clone(),
    }
}

/// Sends the head of a request, with these headers too.
fn begin(fleet: &Fleet, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(fleet.url("").trim_start_matches("http://")).unwrap();
    let kind = "Content-Type: multipart/form-data; boundary=XX";
    write!(stream, "POST /predict/batch HTTP/1.1\r\nHost: x\r\n{headers}{kind}\r\n\r\n").unwrap();
    stream
}

fn code(item: &Value) -> &str {
    item["error"]["code"].as_str().unwrap_or("none")
}

#[test]
fn every_file_has_its_own_answer_in_order() {
    let fleet = Fleet::start(FleetPlan { workers: 2, ..FleetPlan::default() });
    let url = fleet.url("/predict/batch?top_k=2");
    let mut files = variants(60);
    files[7] = ("text.jpg".into(), b"this is no image".to_vec());
    files[20] = ("cut.png".into(), images::digit(1)[..60].to_vec());
    files[33] = ("large.png".into(), vec![0x89; 21 << 20]);
    files[40] = ("../../etc/passwd".into(), Vec::new());
    for headers in [&[FORM][..], &[FORM, LINES]] {
        let items = items(&http::post(&url, headers, &form(&files)));
        assert_eq!(items.len(), 60);
        for (number, item) in items.iter().enumerate() {
            assert_eq!((&item["index"], &item["file_name"]), (&number.into(), &files[number].0.as_str().into()));
            let expected = match number {
                7 | 40 => "not_an_image",
                20 => "corrupt_image",
                33 => "too_large",
                _ => "none",
            };
            assert_eq!(code(item), expected, "{item}");
            if expected == "none" {
                // The same object as the route for one image gives.
                let alone = http::post(&fleet.url("/predict?top_k=2"), &[], &files[number].1).json();
                for field in ["prediction", "score", "top", "image_sha256", "image_file_name", "model_digest"] {
                    assert_eq!(item[field], alone[field], "{field}: {item}");
                }
                assert_eq!(item["prediction"], (number % 10).to_string());
            }
        }
    }
    assert_eq!(fleet.worker_metric("shoal_worker_images_total"), 56.0);
}

#[test]
fn the_first_is_answered_before_the_second_is_sent() {
    let fleet = Fleet::start(FleetPlan::default());
    let mut stream = begin(&fleet, "Accept: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n");
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let chunk = |content: &[u8]| [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat();
    let mut next_line = || {
        let mut line = String::new();
        while !line.starts_with('{') {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the connection was closed");
        }
        serde_json::from_str::<Value>(&line).unwrap()
    };
    for digit in [4, 7, 2] {
        // A part has ended when the next boundary is there.
        let content = [part("file", "a.png", &images::digit(digit)), b"--XX".to_vec()].concat();
        let content = if digit == 4 { &content[..] } else { &content[4..] };
        stream.write_all(&chunk(content)).unwrap();
        assert_eq!(next_line()["prediction"], digit.to_string());
    }
    // The rest never comes: the images' answers stand, and one more item says so.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let last = next_line();
    assert_eq!((&last["index"], code(&last)), (&3.into(), "bad_request"), "{last}");
}

#[test]
fn what_cannot_be_read_ends_the_batch_and_not_what_was_before() {
    let config = "[gateway.batch]\nmax_items = 5\n".to_owned();
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    let url = fleet.url("/predict/batch");
    let whole = form(&variants(4));
    let cut = items(&http::post(&url, &[FORM], &whole[..whole.len() - 30]));
    assert_eq!(cut.iter().map(code).collect::<Vec<_>>(), ["none", "none", "none", "bad_request"]);
    let too_many = items(&http::post(&url, &[FORM], &form(&variants(8))));
    assert_eq!((too_many.len(), code(&too_many[4]), code(&too_many[5])), (6, "none", "too_large"));
    // Without any image there is nothing to list.
    let other = [part("picture", "a.png", b"x"), b"--XX--\r\n".to_vec()].concat();
    for (headers, body, status) in [
        (&[FORM][..], b"--XX--\r\n".to_vec(), 400),
        (&[FORM], other, 400),
        (&[FORM], Vec::new(), 400),
        (&[("Content-Type", "multipart/form-data")], whole.clone(), 400),
        (&[("Content-Type", "image/png")], images::digit(1), 400),
        (&[FORM, LINES], b"nonsense".to_vec(), 400),
    ] {
        let answer = http::post(&url, headers, &body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json()["success"], false);
    }
    assert_eq!(http::post(&fleet.url("/predict/batch?top_k=0"), &[FORM], &whole).status, 400);
    let nobody = items(&http::post(&fleet.url("/predict/batch?model=nobody"), &[FORM], &whole));
    assert!(nobody.iter().all(|item| code(item) == "unknown_model"), "{nobody:?}");
}

#[test]
fn damaged_forms_are_answered_and_break_nothing() {
    let fleet = Fleet::start(FleetPlan::default());
    let mut corpus = folder(&repository().join("tests/corpus/forms"));
    corpus.push(form(&variants(4)));
    let seed = std::env::var("SHOAL_FUZZ_SEED").map_or_else(|_| fastrand::u64(..) >> 32, |text| text.parse().unwrap());
    let mut mutator = Mutator::new(seed, corpus);
    let (client, url) = (http::Client::new(), fleet.url("/predict/batch"));
    for run in 0..600 {
        let headers = if run % 2 == 0 { &[FORM][..] } else { &[FORM, LINES] };
        let answer = client.try_post(&url, headers, &mutator.next_input()).unwrap();
        let expected = [200, 400, 413].contains(&answer.status);
        assert!(expected, "seed {seed}, request {run}: {answer:?}");
        if answer.status == 200 {
            let items = items(&answer);
            assert!(items.iter().enumerate().all(|(index, item)| item["index"] == index), "{items:?}");
        }
    }
    assert_eq!(items(&http::post(&url, &[FORM], &form(&variants(3)))).len(), 3);
}

#[test]
fn a_batch_larger_than_the_queue_waits_for_room() {
    let models = tempfile::tempdir().unwrap();
    let model = models::add_resnet50(models.path(), false);
    // Lanes of four jobs, and memory for a few images at a time.
    let config = "[nats.topology]\nmax_jobs_per_lane = 4\n[gateway]\nmax_in_flight_bytes = 4194304\n\
                  [gateway.limits]\nmax_bytes = 2097152\n"
        .to_owned();
    let fleet =
        Fleet::start(FleetPlan { model, config, models_dir: Some(models.path().into()), ..FleetPlan::default() });
    let files: Vec<_> = (0..40).map(|seed| (format!("{seed}.png"), images::noise(500, seed))).collect();
    let before = metric(&fleet.url("/metrics"), "shoal_gateway_predictions_total{cache=\"miss\"}");
    let items = items(&http::post(&fleet.url("/predict/batch?timeout_ms=60000"), &[FORM], &form(&files)));
    let codes: Vec<&str> = items.iter().map(code).filter(|code| *code != "none").collect();
    assert!(items.len() == 40 && codes.is_empty(), "{codes:?}");
    let after = metric(&fleet.url("/metrics"), "shoal_gateway_predictions_total{cache=\"miss\"}");
    assert_eq!(after - before, 40.0);
    eventually("the memory is free again", || metric(&fleet.url("/metrics"), "shoal_gateway_in_flight_bytes") == 0.0);
}

#[test]
fn whom_nobody_can_answer_in_time_is_told_so_image_by_image() {
    let config = "[nats.topology]\nmax_jobs_per_lane = 4\n".to_owned();
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    // A worker that holds still: it takes no jobs, and is not known to be gone yet.
    fleet.workers[0].signal(Signal::STOP);
    let items = items(&http::post(&fleet.url("/predict/batch?timeout_ms=800"), &[FORM], &form(&variants(40))));
    let codes: Vec<&str> = items.iter().map(code).collect();
    // Those that find room in the lane get no answer; the others find none until their time is over.
    let late = codes.iter().filter(|code| **code == "deadline_exceeded").count();
    let refused = codes.iter().filter(|code| **code == "overloaded").count();
    assert!(late >= 4 && refused > 0 && late + refused == 40, "{codes:?}");
    fleet.workers[0].signal(Signal::CONT);
}

#[test]
fn whoever_hangs_up_leaves_nothing_behind() {
    let models = tempfile::tempdir().unwrap();
    let model = models::add_resnet50(models.path(), false);
    let fleet = Fleet::start(FleetPlan { model, models_dir: Some(models.path().into()), ..FleetPlan::default() });
    let url = fleet.url("/metrics");
    for accept in ["application/x-ndjson", "application/json"] {
        let body = form(&variants(200));
        let mut stream = begin(&fleet, &format!("Accept: {accept}\r\nContent-Length: {}\r\n", body.len()));
        stream.write_all(&body).unwrap();
        eventually("the images are being predicted", || metric(&url, "shoal_gateway_in_flight") > 0.0);
        drop(stream);
        eventually("nobody waits and nothing is held", || {
            metric(&url, "shoal_gateway_in_flight") == 0.0 && metric(&url, "shoal_gateway_in_flight_bytes") == 0.0
        });
        let computed = fleet.worker_metric("shoal_worker_images_total");
        assert!(computed < 200.0, "{accept}: the rest was computed for nobody");
    }
}

#[test]
fn who_stops_sending_has_the_answers_so_far() {
    let config = "[gateway]\nreceive_timeout = \"700ms\"\n".to_owned();
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    let body = form(&variants(4));
    let mut stream = begin(&fleet, &format!("Connection: close\r\nContent-Length: {}\r\n", body.len()));
    stream.write_all(&body[..body.len() - 20]).unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_to_string(&mut answer).unwrap();
    let items: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let codes: Vec<&str> = items.as_array().unwrap().iter().map(code).collect();
    assert_eq!(codes, ["none", "none", "none", "request_timeout"], "{answer}");
}
