//! Damaged inputs at every door: answered or refused, never a panic, never a stuck job.
//!
//! A bounded run in `make test`, a long one by `make fuzz`. `SHOAL_FUZZ_RUNS` is the number of inputs
//! of the targets inside this process (the others get a share), `SHOAL_FUZZ_SEED` repeats a run. An
//! input that breaks something is kept in `target/`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shoal_shared::codec;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::manifest::{InputSpec, Layout};
use shoal_shared::names::JobId;
use shoal_shared::npy;
use shoal_shared::prediction::{Class, Outcome, Prediction, Served, Timings};
use shoal_shared::sniff::{ImageLimits, format_of, sniff};
use shoal_testkit::bus::Streams;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::mutate::{Mutator, folder};
use shoal_testkit::process::repository;
use shoal_testkit::{eventually, http, images};
use shoal_worker::image::{Preprocessor, decode};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

fn runs() -> u64 {
    number("SHOAL_FUZZ_RUNS").unwrap_or(20_000)
}

fn seed() -> u64 {
    number("SHOAL_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..) >> 32)
}

/// Feeds `target` damaged copies of a corpus inside this process.
fn feed(name: &str, corpus: Vec<Vec<u8>>, mut target: impl FnMut(&[u8])) {
    let seed = seed();
    let mut mutator = Mutator::new(seed, corpus);
    for run in 0..runs() {
        let input = mutator.next_input();
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let kept = repository().join(format!("target/fuzz-{name}-{seed}-{run}"));
            std::fs::write(&kept, &input).unwrap();
            panic!("{name}: broken by {} (SHOAL_FUZZ_SEED={seed}, input {run})", kept.display());
        }
    }
}

/// Small enough that no damaged header makes a test slow, large enough for every sample.
const LIMITS: ImageLimits = ImageLimits { max_bytes: 1 << 20, max_side: 2048, max_pixels: 1 << 20 };

#[test]
fn images() {
    let spec = InputSpec::default();
    let mut preprocessor = Preprocessor::new(&spec, Layout::Nhwc, (16, 16), LIMITS);
    let mut row = vec![0.0; preprocessor.row_len()];
    feed("image", folder(&repository().join("worker/image/tests/images")), |input| {
        let _ = format_of(input);
        let header = sniff(input, &LIMITS);
        let (whole, reduced) = (decode(input, &LIMITS, None), decode(input, &LIMITS, Some(8)));
        if let Ok(reduced) = reduced {
            assert_eq!(reduced.rgb.len(), (reduced.width * reduced.height * 3) as usize);
        }
        if let Ok(pixels) = whole {
            assert!(header.is_ok(), "decoded, and refused at the door: {header:?}");
            assert!(u64::from(pixels.width) * u64::from(pixels.height) <= LIMITS.max_pixels);
        }
        let _ = preprocessor.prepare(input, &mut row);
    });
}

#[test]
fn tensors() {
    let mut preprocessor = Preprocessor::new(&InputSpec::default(), Layout::Nchw, (4, 4), LIMITS);
    let mut row = vec![0.0; preprocessor.row_len()];
    let tensor = |shape: &[usize]| [npy::header_for(shape), vec![0; shape.iter().product::<usize>() * 4]].concat();
    let other = b"\x93NUMPY\x02\0\x3c\0\0\0{'shape': (2,), \"fortran_order\": True, 'descr': '<f8'}   \n".to_vec();
    feed("tensor", vec![tensor(&[3, 4, 4]), tensor(&[1, 3, 4, 4]), other], |input| {
        let header = sniff(input, &LIMITS);
        if preprocessor.prepare(input, &mut row).is_ok() {
            assert!(header.is_ok(), "taken, and refused at the door: {header:?}");
            assert!(row.iter().all(|value| value.is_finite()));
        }
    });
}

fn prediction() -> Prediction {
    let class = |index| Class { label: format!("class {index}").into(), index, score: 0.9 / (index + 1) as f32 };
    Prediction {
        model: "digits".parse().unwrap(),
        digest: serde_json::from_str("\"00112233445566778899aabbccddeeff\"").unwrap(),
        top: (0..5).map(class).collect(),
        infer_us: 1234,
        computed_at: 1_795_249_525_901,
    }
}

#[test]
fn encoded_outcomes() {
    let (prediction, failure) = (prediction(), Failure::new(FailureCode::CorruptImage, "it ends after 17 bytes"));
    let outcome = |result| {
        let served = Served { worker: "worker-x".into(), batch: 3, attempt: 1, timings: Timings::default() };
        codec::encode(&Outcome { job: JobId::mint(), result, served }).unwrap()
    };
    let corpus = vec![codec::encode(&prediction).unwrap(), outcome(Ok(prediction.clone())), outcome(Err(failure))];
    feed("codec", corpus, |input| {
        let _ = codec::decode::<Prediction>(input);
        if let Ok(outcome) = codec::decode::<Outcome>(input) {
            let again = codec::decode::<Outcome>(&codec::encode(&outcome).unwrap()).unwrap();
            // Not equal to itself when a score became NaN.
            assert_eq!(format!("{again:?}"), format!("{outcome:?}"));
        }
    });
}

/// Sends one request and reads the status of the answer.
fn status_of(address: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // The answer to a bad beginning may come before the end was sent.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {text:?}"))
}

#[test]
fn forms() {
    let fleet = Fleet::start(FleetPlan::default());
    let address = fleet.url("").trim_start_matches("http://").to_owned();
    let seed = seed();
    let mut mutator = Mutator::new(seed, folder(&repository().join("tests/corpus/forms")));
    for run in 0..runs() / 20 {
        let body = mutator.next_input();
        let status = status_of(&address, &body);
        assert!([200, 400, 413, 415, 422].contains(&status), "{status}: SHOAL_FUZZ_SEED={seed}, form {run}");
    }
    assert_eq!(http::post(&fleet.url("/predict"), &[], &images::digit(4)).json()["prediction"], "4");
}

#[test]
fn job_headers() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let streams = Streams::connect(&fleet.nats.url());
    let seed = seed();
    let mut mutator = Mutator::new(seed, folder(&repository().join("tests/corpus/jobs")));
    for run in 0..runs() / 40 {
        // One header a line.
        let text = mutator.next_input();
        let lines = text.split(|&byte| byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned());
        let headers: Vec<(String, String)> =
            lines.filter_map(|line| Some(line.split_once(": ")?).map(|(n, v)| (n.to_owned(), v.to_owned()))).collect();
        let payload = if run % 3 == 0 { Vec::new() } else { images::digit_variant(3, run as u32 % 65536) };
        streams.publish("jobs.digits.bulk", &headers, payload);
    }
    eventually(&format!("every job is settled: SHOAL_FUZZ_SEED={seed}"), || streams.messages("JOBS") == Some(0));
    assert!(fleet.workers[0].is_running() && fleet.gateways[0].0.is_running());
    assert_eq!(http::post(&fleet.url("/predict"), &[], &images::digit(4)).json()["prediction"], "4");
}
