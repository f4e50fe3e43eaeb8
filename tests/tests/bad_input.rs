//! What is no image, or no whole image, is refused with a sentence; the fleet goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use image::{DynamicImage, ImageFormat};
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::images::{digit, encode, png_declaring};
use shoal_testkit::{http, images};

#[test]
fn every_kind_of_nonsense_gets_its_own_sentence() {
    let mut fleet = Fleet::start(FleetPlan::default());
    let url = fleet.url("/predict");
    let photo = DynamicImage::ImageRgb8(image::RgbImage::from_fn(200, 150, |x, y| image::Rgb([x as u8, y as u8, 7])));
    let jpeg = encode(&photo, ImageFormat::Jpeg);
    let png = digit(1);
    let cases: &[(&str, &[u8], u16, &str)] = &[
        ("truncated.jpg", &jpeg[..jpeg.len() / 2], 400, "corrupt_image"),
        ("cut-header.jpg", &jpeg[..30], 400, "corrupt_image"),
        ("truncated.png", &png[..png.len() / 2], 400, "corrupt_image"),
        ("text.jpg", b"this is just text in a file called .jpg, nothing more", 400, "not_an_image"),
        ("empty.jpg", b"", 400, "not_an_image"),
        ("huge.png", &png_declaring(60_000, 60_000), 422, "dimensions_too_large"),
        ("archive.zip", b"PK\x03\x04\x14\0\0\0\x08\0 zip archives are no images", 400, "not_an_image"),
        ("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x0cmeta\0\0\0\0", 415, "unsupported_format"),
    ];
    for (name, bytes, status, code) in cases {
        for _ in 0..2 {
            let answer = http::post_file(&url, "file", name, bytes);
            assert_eq!(
                (answer.status, answer.json()["error"]["code"].as_str()),
                (*status, Some(*code)),
                "{name}: {answer:?}"
            );
            assert!(answer.json()["error"]["message"].as_str().unwrap().len() > 15, "{name}");
        }
    }
    let no_file = http::post_file(&url, "picture", "a.png", &png);
    assert_eq!(no_file.status, 400);
    assert!(no_file.json()["detail"].as_str().unwrap().contains("`file`"));
    let no_boundary = http::post(&url, &[("Content-Type", "multipart/form-data")], b"x");
    assert_eq!(no_boundary.status, 400);
    let no_form = http::post(&url, &[("Content-Type", "multipart/mixed; boundary=x")], b"--x--");
    assert!(no_form.status == 415 && no_form.json()["detail"].as_str().unwrap().contains("multipart/form-data"));
    let coded = http::post(&url, &[("Content-Encoding", "gzip")], &png);
    assert!(coded.status == 415 && coded.json()["detail"].as_str().unwrap().contains("gzip"), "{coded:?}");
    assert_eq!(http::post(&url, &[("Content-Encoding", "identity")], &png).status, 200);
    let too_large = http::post(&url, &[], &vec![0xff; 21 * 1024 * 1024]);
    assert_eq!(too_large.status, 413, "{too_large:?}");

    assert!(fleet.workers[0].is_running());
    let answer = http::post(&url, &[], &images::digit(4));
    assert_eq!(answer.json()["prediction"], "4");
}

#[test]
fn a_bad_image_published_past_the_gateway_gets_a_typed_result() {
    let Some(cli) = shoal_shared::locate::nats_cli() else {
        return eprintln!("skipped: no `nats` command here");
    };
    let fleet = Fleet::start(FleetPlan::default());
    let nats = |args: &[&str]| {
        let output =
            std::process::Command::new(&cli).args(["--server", &fleet.nats.url()]).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    nats(&["pub", "-J", "jobs.digits.bulk", "no image at all"]);
    shoal_testkit::eventually("the result says what was wrong", || {
        nats(&["stream", "get", "RESULTS", "--last-for", "results.1"]).contains("not_an_image")
    });
    // By reference: to an object that is longer than an image may be, and to one that is not there.
    let large = fleet.nats.dir().join("large");
    std::fs::write(&large, vec![0xff; 21 * 1024 * 1024]).unwrap();
    nats(&["object", "put", "shoal_uploads", large.to_str().unwrap(), "--name", "large", "--force", "--no-progress"]);
    for (object, sequence, expected) in [("large", "results.2", "too_large"), ("missing", "results.3", "not_found")] {
        nats(&["pub", "-J", "-H", &format!("Shoal-Object:{object}"), "jobs.digits.bulk", ""]);
        shoal_testkit::eventually(&format!("the result of {object} says what was wrong"), || {
            nats(&["stream", "get", "RESULTS", "--last-for", sequence]).contains(expected)
        });
    }
    // Settled: nothing is left to be delivered again.
    shoal_testkit::eventually("the queue is empty", || {
        nats(&["stream", "info", "JOBS", "--json"]).contains("\"messages\": 0")
    });
}
