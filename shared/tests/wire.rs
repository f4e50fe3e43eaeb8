//! What releases say to each other: bytes that were written by one must be read by the next, and by this one in the
//! same way. `SHOAL_WRITE_WIRE=1` writes fixtures that are missing; one that is there is changed by no release
//! without a new `codec::VERSION` (docs/wire.md).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shoal_shared::codec;
use shoal_shared::digest::{CacheKey, ImageKey, ImageSha256, ModelDigest};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::prediction::{Class, Outcome, Prediction, Served, Timings};
use shoal_shared::presence::WorkerStatus;
use shoal_shared::supervision::{FleetRecord, SupervisorStatus};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name)
}

fn bytes(name: &str, written_now: &[u8]) -> Vec<u8> {
    let path = fixture(name);
    if !path.exists() && std::env::var_os("SHOAL_WRITE_WIRE").is_some() {
        std::fs::write(&path, written_now).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Read as it was meant, and written by this release exactly as by the one that wrote the fixture.
#[track_caller]
fn binary<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let now = codec::encode(value).unwrap();
    let then = bytes(&format!("{name}.v{}.bin", codec::VERSION), &now);
    assert_eq!(&codec::decode::<T>(&then).unwrap(), value);
    assert_eq!(now, then, "{name} is written differently: raise codec::VERSION");
}

fn model_digest() -> ModelDigest {
    serde_json::from_value(json!("477f2a02a2590d43bb3d6510340e0ae0")).unwrap()
}

fn prediction() -> Prediction {
    let class = |label: &str, index, score| Class { label: label.into(), index, score };
    Prediction {
        model: "digits".parse().unwrap(),
        digest: model_digest(),
        top: vec![class("3", 3, 0.75), class("8", 8, 0.25)],
        infer_us: 310,
        computed_at: 1_795_000_000_000,
    }
}

fn outcome(result: Result<Prediction, Failure>) -> Outcome {
    let timings = Timings { queue: 1, fetch: 2, decode: 3, batch_wait: 4, infer: 5, store: 6 };
    let served = Served { worker: "worker-a".into(), batch: 7, attempt: 2, timings };
    Outcome { job: "job-1".parse().unwrap(), result, served }
}

#[test]
fn predictions_and_outcomes_keep_their_form() {
    binary("prediction", &prediction());
    binary("outcome", &outcome(Ok(prediction())));
}

#[test]
fn every_failure_keeps_its_number() {
    for code in FailureCode::ALL {
        binary(&format!("failure-{}", code.as_str()), &outcome(Err(Failure::new(*code, "why"))));
    }
}

#[test]
fn cache_keys_keep_their_form() {
    let key = CacheKey { model: model_digest(), image: ImageKey::Sha256(ImageSha256([7; 32])) };
    binary("cache-key", &key);
    let text = bytes("cache-key.txt", key.to_string().as_bytes());
    assert_eq!(key.to_string().as_bytes(), text, "predictions in the shared cache would not be found any more");
}

/// JSON between processes: what an earlier release says is understood, and what a later one adds is no error.
#[track_caller]
fn json<T: Serialize + DeserializeOwned>(name: &str, now: &Value) {
    let then = bytes(&format!("{name}.json"), serde_json::to_string_pretty(now).unwrap().as_bytes());
    let mut then: Value = serde_json::from_slice(&then).unwrap();
    let read: T = serde_json::from_value(then.clone()).unwrap();
    let back = serde_json::to_value(&read).unwrap();
    assert!(survives(&then, &back), "{name}: something does not survive: {back}");
    then["of_a_later_release"] = json!({ "unknown": true });
    serde_json::from_value::<T>(then).unwrap();
}

/// Whether everything that was said is still there; a later release may say more.
fn survives(then: &Value, back: &Value) -> bool {
    match then {
        Value::Object(fields) => fields.iter().all(|(key, value)| survives(value, &back[key])),
        other => other == back,
    }
}

#[test]
fn signs_of_life_are_understood_across_releases() {
    let model = json!({
        "name": "digits", "digest": "477f2a02a2590d43bb3d6510340e0ae0", "title": "Handwritten digits",
        "max_batch": 64, "classes": 10, "input_shape": [1, 8, 8], "image_ms": 0.5,
    });
    json::<WorkerStatus>(
        "worker",
        &json!({
            "id": "worker-a", "host": "h", "pid": 7, "version": "0.1.0", "admin": "127.0.0.1:9000", "state": "ready",
            "model": model, "slots": { "total": 8, "busy": 2 }, "busy": 0.5, "images": 42,
        }),
    );
    json::<SupervisorStatus>(
        "supervisor",
        &serde_json::to_value(SupervisorStatus {
            id: "supervisor-a".parse().unwrap(),
            model: "digits".parse().unwrap(),
            wanted: 2,
            wanted_in_all: None,
            recommended: 3,
            wakes: true,
            described: serde_json::from_value(model.clone()).unwrap(),
        })
        .unwrap(),
    );
    json::<FleetRecord>(
        "fleet",
        &json!({
            "leader": "supervisor-a", "max": 4, "fixed": null,
            "members": { "supervisor-a": { "host": "h", "pid": 7, "renewed": 1, "ordered": 2, "ready": 2, "starting": [0.5] } },
        }),
    );
}
