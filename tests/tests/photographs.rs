//! Real photographs through a real ImageNet classifier, held against onnxruntime and Pillow.
//! Skips where the test data beside the project is absent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http;
use shoal_testkit::images::encode;
use shoal_testkit::models::add_squeezenet;
use shoal_testkit::process::{repository, shared_models};

/// How far a score may lie from the reference's.
const TOLERANCE: f64 = 0.02;

#[test]
fn scores_agree_with_the_reference_for_every_encoding() {
    let Some(data) = shared_models() else {
        return eprintln!("skipped: the photographs and the model beside the project are absent");
    };
    let golden = std::fs::read_to_string(repository().join("tests/reference/golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
    let folder = tempfile::tempdir().unwrap();
    add_squeezenet(&data, folder.path());
    let plan = FleetPlan { model: "squeezenet".into(), models_dir: Some(folder.path().into()), ..FleetPlan::default() };
    let fleet = Fleet::start(plan);
    for name in ["cat", "espresso"] {
        let jpeg = std::fs::read(data.join(format!("photos/{name}.jpg"))).unwrap();
        let photo = image::load_from_memory(&jpeg).unwrap();
        // Read at a quarter and at an eighth of their size.
        let (large, camera) = (encode_jpeg(&enlarged(&photo, 600)), encode_jpeg(&enlarged(&photo, 997)));
        let encodings =
            [("jpeg", jpeg), ("png", encode(&photo, ImageFormat::Png)), ("large", large), ("camera", camera)];
        for (kind, image) in encodings {
            let answer = http::post_file(&fleet.url("/predict"), "file", "photo", &image);
            assert_eq!(answer.status, 200, "{answer:?}");
            let (answer, expected) = (answer.json(), &golden[format!("{name}-{kind}")]);
            assert_eq!(answer["prediction"], expected["label"], "{name} as {kind}");
            let off = (answer["score"].as_f64().unwrap() - expected["score"].as_f64().unwrap()).abs();
            println!("{name} as {kind}: {} {}, {off:.4} from the reference", answer["prediction"], answer["score"]);
            assert!(off <= TOLERANCE, "{name} as {kind}: {answer} is {off} from {expected}");
        }
    }
}

fn enlarged(photo: &DynamicImage, percent: u32) -> DynamicImage {
    photo.resize_exact(photo.width() * percent / 100, photo.height() * percent / 100, FilterType::Lanczos3)
}

fn encode_jpeg(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 92);
    image.write_with_encoder(encoder).unwrap();
    bytes
}
