//! The Open Inference Protocol, spoken by NVIDIA's own client, by hand as curl would, and badly.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::process::Command;

use base64::Engine;
use rustix::process::Signal;
use serde_json::{Value, json};
use shoal_shared::manifest::Manifest;
use shoal_shared::npy;
use shoal_shared::sniff::ImageLimits;
use shoal_testkit::bus::Streams;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http::{self, Response};
use shoal_testkit::mutate::Mutator;
use shoal_testkit::process::repository;
use shoal_testkit::{eventually, images, models};
use shoal_worker::image::Preprocessor;

/// `Inference-Header-Content-Length`, in lower case as responses have it.
const HEAD_LENGTH: &str = "inference-header-content-length";

fn infer(fleet: &Fleet, headers: &[(&str, &str)], body: &[u8]) -> Response {
    http::post(&fleet.url("/v2/models/digits/infer"), headers, body)
}

fn infer_json(fleet: &Fleet, body: &Value) -> Response {
    infer(fleet, &[("Content-Type", "application/json")], body.to_string().as_bytes())
}

/// A head and what follows it, as the binary extension joins them; with the header that says where.
fn joined(head: &Value, behind: &[u8]) -> (String, Vec<u8>) {
    let head = head.to_string().into_bytes();
    (head.len().to_string(), [head, behind.to_vec()].concat())
}

/// Elements of a BYTES tensor.
fn elements(images: &[&[u8]]) -> Vec<u8> {
    let with_length = |image: &&[u8]| [&(image.len() as u32).to_le_bytes(), *image].concat();
    images.iter().flat_map(with_length).collect()
}

fn tensor(value: f32) -> Vec<u8> {
    std::iter::repeat_n(value.to_le_bytes(), 64).flatten().collect()
}

#[test]
fn nvidias_own_client_works_in_every_way() {
    let client = repository().join(".tools/python-v2");
    if !client.join("tritonclient").exists() {
        return println!("SKIPPED: no tritonclient in .tools/python-v2 (deploy/tools/python-v2.txt)");
    }
    let fleet = Fleet::start(FleetPlan { workers: 2, ..FleetPlan::default() });
    let mut command = Command::new("python3");
    command.arg(repository().join("tests/v2/triton.py")).arg(fleet.url("").trim_start_matches("http://"));
    let output = command.env("PYTHONPATH", client).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn by_hand_as_curl_and_perf_analyzer_ask() {
    let fleet = Fleet::start(FleetPlan::default());
    // KServe's form: JSON with base64.
    let text = |digit: u8| base64(&images::digit(digit));
    let asked = json!({
        "id": "42",
        "inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": [text(4), text(7)]}],
        "outputs": [{"name": "label"}, {"name": "score", "parameters": {"classification": 2}}],
        "parameters": {"top_k": 1},
    });
    let answer = infer_json(&fleet, &asked);
    let body = answer.json();
    assert_eq!((answer.status, &body["id"], &body["model_version"]), (200, &json!("42"), &json!("1")), "{body}");
    let label = json!({"name": "label", "datatype": "BYTES", "shape": [2, 1], "data": ["4", "7"]});
    assert_eq!((&body["outputs"][0], &body["outputs"][1]["shape"]), (&label, &json!([2, 2])));
    assert!(body["outputs"][1]["data"][2].as_str().unwrap().ends_with(":7:7"), "{body}");

    // The raw form: no JSON, the body is the image.
    let raw = infer(&fleet, &[("Inference-Header-Content-Length", "0")], &images::digit(4));
    assert_eq!((raw.status, &raw.json()["outputs"][0]["data"][0]), (200, &json!("4")), "{raw:?}");

    // As perf_analyzer does it: metadata and configuration first, then [batch, 1] with everything binary.
    let (length, body) = joined(
        &json!({
            "id": "1",
            "inputs": [{"name": "image", "shape": [2, 1], "datatype": "BYTES",
                        "parameters": {"binary_data_size": elements(&[&images::digit(1), &images::digit(2)]).len()}}],
            "outputs": [{"name": "index", "parameters": {"binary_data": true}}],
        }),
        &elements(&[&images::digit(1), &images::digit(2)]),
    );
    let answer = infer(&fleet, &[("Inference-Header-Content-Length", &length)], &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let head: usize = answer.header(HEAD_LENGTH).unwrap().parse().unwrap();
    let said: Value = serde_json::from_slice(&answer.body[..head]).unwrap();
    assert_eq!(said["outputs"][0]["parameters"]["binary_data_size"], 80);
    let indices: Vec<u64> =
        answer.body[head..].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    assert_eq!((indices.len(), indices[0], indices[5]), (10, 1, 2));

    // The model's own tensor, with a version in the path.
    let asked = json!({"inputs": [{"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32",
                                   "data": [[vec![vec![0.5; 8]; 8]]]}]});
    let url = fleet.url("/v2/models/digits/versions/1/infer");
    let nested = http::post(&url, &[], asked.to_string().as_bytes());
    assert_eq!((nested.status, &nested.json()["outputs"][1]["shape"]), (200, &json!([1, 5])), "{nested:?}");
}

/// What makes a request wrong.
type Change<'a> = &'a dyn Fn(&mut Value);

#[test]
fn what_is_wrong_is_said_in_the_protocols_own_form() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let input = |change: Change<'_>| {
        let mut asked = json!({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["aGk="]}]});
        change(&mut asked);
        asked
    };
    let cases: &[(&str, Change<'_>)] = &[
        ("no input `pixels`", &|asked| asked["inputs"][0]["name"] = json!("pixels")),
        ("INT8", &|asked| asked["inputs"][0]["datatype"] = json!("INT8")),
        ("first axis", &|asked| asked["inputs"][0]["shape"] = json!([0])),
        ("first axis", &|asked| asked["inputs"][0]["shape"] = json!([100_000])),
        ("first axis", &|asked| asked["inputs"][0]["shape"] = json!([])),
        ("[N, 1]", &|asked| asked["inputs"][0]["shape"] = json!([1, 2])),
        ("`-1`", &|asked| asked["inputs"][0]["shape"] = json!([-1])),
        ("1 values", &|asked| asked["inputs"][0]["shape"] = json!([2])),
        ("base64", &|asked| asked["inputs"][0]["data"] = json!(["\u{e4}"])),
        ("a string", &|asked| asked["inputs"][0]["data"] = json!([1])),
        ("neither `data`", &|asked| drop(asked["inputs"][0].as_object_mut().unwrap().remove("data"))),
        ("shared memory", &|asked| asked["inputs"][0]["parameters"] = json!({"shared_memory_region": "r"})),
        ("0 bytes follow", &|asked| {
            asked["inputs"][0] = json!({"name": "image", "shape": [1], "datatype": "BYTES",
                                        "parameters": {"binary_data_size": 9}});
        }),
        ("exactly one", &|asked| asked["inputs"] = json!([])),
        ("[N, 1, 8, 8]", &|asked| {
            asked["inputs"][0] = json!({"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": [1]});
        }),
        ("label, score, index", &|asked| asked["outputs"] = json!([{"name": "x"}])),
        ("no parameter `colour`", &|asked| asked["parameters"] = json!({"colour": 1})),
        ("`top_k`", &|asked| asked["parameters"] = json!({"top_k": 21})),
        ("sequences", &|asked| asked["parameters"] = json!({"sequence_id": 1, "sequence_start": true})),
    ];
    for (word, change) in cases {
        let answer = infer_json(&fleet, &input(change));
        let said = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 400 && said.contains(word), "{word}: {answer:?}");
    }
    let status = |method: fn(&str) -> Response, path: &str| (method(&fleet.url(path)).status, path.to_owned());
    let post = |url: &str| http::post(url, &[], b"");
    for (answer, expected) in [
        (status(http::get, "/v2/models/nobody"), 404),
        (status(http::get, "/v2/models/nobody/ready"), 404),
        (status(http::get, "/v2/models/..%2f"), 404),
        (status(http::get, "/v2/models/digits/versions/2"), 404),
        (status(http::get, "/v2/models/digits/infer"), 405),
        (status(http::get, "/v2/nowhere"), 404),
        (status(post, "/v2/health/live"), 405),
        (status(post, "/v2/repository/models/digits/load"), 404),
        (status(post, "/v2/models/nobody/infer"), 404),
        (status(post, "/v2/models/digits/infer"), 400),
    ] {
        assert_eq!(answer.0, expected, "{}", answer.1);
    }
    for (name, value, expected) in [
        ("Content-Encoding", "br", 415),
        ("Content-Encoding", "gzip", 400),
        ("Inference-Header-Content-Length", "99", 400),
        ("Inference-Header-Content-Length", "-1", 400),
    ] {
        assert_eq!(infer(&fleet, &[(name, value)], b"{}").status, expected, "{name}: {value}");
    }

    fleet.workers[0].kill();
    eventually("the protocol says that nobody is ready", || {
        http::get(&fleet.url("/v2/models/digits/ready")).status == 503
            && http::get(&fleet.url("/v2/health/ready")).status == 503
    });
    assert_eq!(http::get(&fleet.url("/v2/health/live")).status, 200);
    let refused = infer(&fleet, &[("Inference-Header-Content-Length", "0")], &images::digit(1));
    assert!(refused.status == 503 && refused.header("retry-after").is_some(), "{refused:?}");
    let listed = http::post(&fleet.url("/v2/repository/index"), &[], b"{\"ready\": false}").json();
    assert_eq!(listed[0]["state"], "UNAVAILABLE");
    assert_eq!(http::post(&fleet.url("/v2/repository/index"), &[], b"{\"ready\": true}").json(), json!([]));
}

#[test]
fn a_photograph_and_the_tensor_that_its_manifest_makes_of_it_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let model = models::add_resnet50(dir.path(), false);
    let manifest = std::fs::read_to_string(dir.path().join(&model).join("manifest.toml")).unwrap();
    let manifest = Manifest::parse(&manifest).unwrap();
    let photo = shoal_loadtest::photograph::jpeg(500, 375, 60_000, 7).unwrap();
    let limits = ImageLimits::default();
    let mut preprocessor = Preprocessor::new(&manifest.input, manifest.input.layout, (224, 224), limits);
    let mut row = vec![0.0; preprocessor.row_len()];
    preprocessor.prepare(&photo, &mut row).unwrap();
    let fleet =
        Fleet::start(FleetPlan { model: model.clone(), models_dir: Some(dir.path().into()), ..FleetPlan::default() });
    let url = fleet.url(&format!("/v2/models/{model}/infer"));
    let as_image = http::post(&url, &[("Inference-Header-Content-Length", "0")], &photo).json();
    let data: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    let (length, body) = joined(
        &json!({"inputs": [{"name": "image", "shape": [1, 3, 224, 224], "datatype": "FP32",
                            "parameters": {"binary_data_size": data.len()}}]}),
        &data,
    );
    let as_tensor = http::post(&url, &[("Inference-Header-Content-Length", &length)], &body).json();
    assert_eq!(as_image["outputs"][2], as_tensor["outputs"][2], "{as_image} {as_tensor}");
    let scores = |answer: &Value| -> Vec<f64> {
        answer["outputs"][1]["data"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect()
    };
    for (one, other) in scores(&as_image).iter().zip(scores(&as_tensor)) {
        assert!((one - other).abs() < 1e-5, "{as_image} {as_tensor}");
    }
    assert_eq!(fleet.worker_metric("shoal_worker_images_total"), 2.0);
}

#[test]
fn overload_deadline_and_size_have_their_own_status() {
    let config =
        "[gateway]\nmax_in_flight = 1\n[gateway.batch]\nmax_infer_bytes = 100000\nmax_items = 100\n".to_owned();
    let fleet = Fleet::start(FleetPlan { config, ..FleetPlan::default() });
    let floats = |count: usize, value: f32, timeout: u64| {
        let data = tensor(value).repeat(count);
        let asked = json!({
            "inputs": [{"name": "image", "shape": [count, 1, 8, 8], "datatype": "FP32",
                        "parameters": {"binary_data_size": data.len()}}],
            "parameters": {"timeout": timeout},
        });
        joined(&asked, &data)
    };
    let ask = |(length, body): (String, Vec<u8>)| infer(&fleet, &[("Inference-Header-Content-Length", &length)], &body);
    // The same tensor a hundred times is one job.
    assert_eq!(ask(floats(100, 0.5, 30_000_000)).json()["outputs"][2]["shape"], json!([100, 5]));
    let images: Vec<Vec<u8>> = (0..20).map(|number| images::digit_variant(1, number)).collect();
    let data = elements(&images.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let asked = json!({"inputs": [{"name": "image", "shape": [20], "datatype": "BYTES",
                                   "parameters": {"binary_data_size": data.len()}}]});
    let refused = ask(joined(&asked, &data));
    assert!(refused.status == 429 && refused.header("retry-after").is_some(), "{refused:?}");
    assert!(refused.json()["error"].as_str().unwrap().starts_with("image "), "{refused:?}");
    assert_eq!(infer(&fleet, &[], &vec![b' '; 100_001]).status, 413);
    // A worker that holds still.
    fleet.workers[0].signal(Signal::STOP);
    // What was under way of the images before may still be, for a moment.
    let mut late = ask(floats(1, 0.75, 300_000));
    eventually("the one place is free", || {
        let is_refused = late.status == 429;
        if is_refused {
            late = ask(floats(1, 0.75, 300_000));
        }
        !is_refused
    });
    assert_eq!(late.status, 504, "{late:?}");
    fleet.workers[0].signal(Signal::CONT);
}

#[test]
fn damaged_requests_are_answered_and_break_nothing() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let images = elements(&[&images::digit(1), &images::digit(2)]);
    let head = |input: Value| json!({"id": "x", "inputs": [input], "parameters": {"binary_data_output": true}});
    let sized = |size: usize| json!({"binary_data_size": size});
    let encoded = json!({"name": "image", "shape": [2, 1], "datatype": "BYTES", "parameters": sized(images.len())});
    let floats = json!({"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "parameters": sized(256)});
    let text = json!({"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64(&images::digit(4))]});
    let corpus = [(head(encoded), images), (head(floats), tensor(0.5)), (head(text), Vec::new())];
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|(head, behind)| joined(head, behind).1).collect();
    let lengths: Vec<usize> = corpus.iter().map(|body| body.iter().position(|&byte| byte == b'}').unwrap()).collect();
    let seed = std::env::var("SHOAL_FUZZ_SEED").map_or_else(|_| fastrand::u64(..) >> 32, |text| text.parse().unwrap());
    let mut mutator = Mutator::new(seed, corpus);
    let client = http::Client::new();
    for run in 0..600usize {
        let body = mutator.next_input();
        // Where the JSON ends is right for some, and anything for others.
        let end = body.windows(2).rposition(|pair| pair == b"}}").map_or(lengths[run % 3], |at| at + 2);
        let length = if run % 5 == 0 { run.to_string() } else { end.to_string() };
        let headers: &[(&str, &str)] = if run % 7 == 0 { &[] } else { &[("Inference-Header-Content-Length", &length)] };
        let answer = client.try_post(&fleet.url("/v2/models/digits/infer"), headers, &body).unwrap();
        let expected = [200, 400, 413, 415, 422].contains(&answer.status);
        assert!(expected, "seed {seed}, request {run}: {answer:?}");
    }
    assert!(fleet.gateways[0].0.is_running() && fleet.workers[0].is_running());
    let raw = infer(&fleet, &[("Inference-Header-Content-Length", "0")], &images::digit(4));
    assert_eq!(raw.json()["outputs"][0]["data"][0], "4");
}

#[test]
fn a_tensor_is_a_job_like_any_other() {
    let fleet = Fleet::start(FleetPlan::default());
    let npy = |shape: &[usize], value: f32| [npy::header_for(shape), tensor(value)].concat();
    // Straight into the queue: the payload is all that a job needs.
    let streams = Streams::connect(&fleet.nats.url());
    streams.publish("jobs.digits.bulk", &[("Shoal-Job".into(), "good".into())], npy(&[1, 8, 8], 0.25));
    streams.publish("jobs.digits.bulk", &[("Shoal-Job".into(), "bad".into())], npy(&[64], 0.25));
    eventually("both are settled", || streams.messages("JOBS") == Some(0));
    assert_eq!(streams.result("good")["success"], true, "{}", streams.result("good"));
    assert!(streams.result("bad")["detail"].as_str().unwrap().contains("[1, 8, 8]"), "{}", streams.result("bad"));
    let digest = shoal_shared::digest::ImageSha256::of(&npy(&[1, 8, 8], 0.25));
    let known = fleet.url(&format!("/predictions/{digest}"));
    eventually("the gateway has heard of it", || http::get(&known).status == 200);
    let url = fleet.url("/predict");
    let first = http::post(&url, &[], &npy(&[1, 8, 8], 0.25));
    assert_eq!((first.status, &first.json()["cache"]), (200, &json!("shared")), "{first:?}");
    assert_eq!(http::post(&url, &[], &npy(&[1, 8, 8], 0.25)).json()["cache"], "hit");
    for (payload, status, word) in [
        (npy(&[64], 0.25), 400, "[1, 8, 8]"),
        (npy(&[1, 8, 8], f32::NAN), 400, "NaN"),
        (npy(&[1, 8, 9], 0.25), 400, "288 bytes"),
        ([npy::header_for(&[60_000, 60_000]), tensor(0.0)].concat(), 422, "limit"),
    ] {
        let answer = http::post(&url, &[], &payload);
        let said = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == status && said.contains(word), "{word}: {answer:?}");
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
