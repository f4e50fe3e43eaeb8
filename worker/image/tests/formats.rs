//! Every format and pixel layout that users send shows the model the same scene, the right way up.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::Path;

use shoal_image::{Pixels, Preprocessor, decode};
use shoal_shared::failure::FailureCode;
use shoal_shared::manifest::{Color, InputSpec, Layout, Resize};
use shoal_shared::sniff::ImageLimits;

const RED: [f32; 3] = [220.0, 30.0, 30.0];
const GREEN: [f32; 3] = [30.0, 180.0, 40.0];
const BLUE: [f32; 3] = [40.0, 50.0, 210.0];
const GREY: [f32; 3] = [200.0, 200.0, 200.0];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name)).unwrap()
}

/// The scene as an 8x6 picture; the middle of each quadrant.
fn quadrants(bytes: &[u8]) -> [[f32; 3]; 4] {
    let spec = InputSpec { color: Color::Rgb, resize: Resize::Stretch, ..InputSpec::default() };
    let mut preprocessor = Preprocessor::new(&spec, Layout::Nhwc, (8, 6), ImageLimits::default());
    let mut row = vec![0.0; preprocessor.row_len()];
    preprocessor.prepare(bytes, &mut row).unwrap();
    let at = |x: usize, y: usize| [0, 1, 2].map(|c| row[(y * 8 + x) * 3 + c]);
    [at(1, 1), at(6, 1), at(1, 4), at(6, 4)]
}

fn assert_close(name: &str, found: [[f32; 3]; 4], expected: [[f32; 3]; 4], tolerance: f32) {
    for (found, expected) in found.iter().zip(expected) {
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= tolerance, "{name}: {found:?} instead of {expected:?}");
    }
}

#[test]
fn colour_survives_every_encoding() {
    let lossless = ["rgb.png", "rgb.bmp", "rgb.tiff", "lossless.webp", "rgba.png"];
    let lossy = ["rgb.jpg", "progressive.jpg", "lossy.webp", "palette.png", "animated.gif", "cmyk.jpg"];
    for (names, tolerance) in [(lossless.as_slice(), 0.5), (lossy.as_slice(), 12.0)] {
        for name in names {
            assert_close(name, quadrants(&file(name)), [RED, GREEN, BLUE, GREY], tolerance);
        }
    }
}

#[test]
fn grey_stays_grey_at_8_and_16_bits() {
    let luma = |[r, g, b]: [f32; 3]| [0.299 * r + 0.587 * g + 0.114 * b; 3];
    let expected = [RED, GREEN, BLUE, GREY].map(luma);
    for name in ["gray.jpg", "gray.png", "gray-alpha.png", "gray16.png"] {
        assert_close(name, quadrants(&file(name)), expected, 4.0);
    }
}

#[test]
fn a_camera_held_any_way_gives_an_upright_picture() {
    let turned = (2..=8).map(|orientation| format!("turned-{orientation}.jpg"));
    for name in turned.chain(["turned-6.png".into(), "turned-6.webp".into()]) {
        assert_close(&name, quadrants(&file(&name)), [RED, GREEN, BLUE, GREY], 14.0);
    }
}

/// The mean of each square of `factor` by `factor` pixels.
fn boxed(pixels: &Pixels, factor: u32) -> Vec<f32> {
    let (width, height) = (pixels.width.div_ceil(factor), pixels.height.div_ceil(factor));
    let mut means = Vec::new();
    for (y, x, channel) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
        let rows = y * factor..pixels.height.min((y + 1) * factor);
        let inside =
            rows.flat_map(|row| (x * factor..pixels.width.min((x + 1) * factor)).map(move |column| (row, column)));
        let values: Vec<f32> = inside
            .map(|(row, column)| f32::from(pixels.rgb[((row * pixels.width + column) * 3 + channel) as usize]))
            .collect();
        means.push(values.iter().sum::<f32>() / values.len() as f32);
    }
    means
}

#[test]
fn a_reduced_decode_shows_what_averaging_the_whole_picture_shows() {
    let limits = ImageLimits::default();
    for name in ["scenery-420.jpg", "scenery-422.jpg", "scenery-444.jpg", "scenery-restart.jpg", "scenery-gray.jpg"] {
        let bytes = file(name);
        let whole = decode(&bytes, &limits, None).unwrap();
        for (needed, factor) in [(7, 8), (15, 4), (30, 2)] {
            let reduced = decode(&bytes, &limits, Some(needed)).unwrap();
            assert_eq!((reduced.width, reduced.height), (161u32.div_ceil(factor), 121u32.div_ceil(factor)), "{name}");
            let expected = boxed(&whole, factor);
            let off: Vec<f32> = reduced
                .rgb
                .iter()
                .zip(&expected)
                .map(|(found, expected)| (f32::from(*found) - expected).abs())
                .collect();
            let (mean, most) = (off.iter().sum::<f32>() / off.len() as f32, off.iter().copied().fold(0.0, f32::max));
            println!("{name} at 1/{factor}: off by {mean:.2} on average, {most:.1} at most");
            assert!(mean < 2.5 && most < 40.0, "{name} at 1/{factor}: {mean} {most}");
        }
        assert_eq!(decode(&bytes, &limits, Some(120)).unwrap().width, 161, "no margin: the whole picture");
    }
    // Progressive ones are read at an eighth, or whole.
    for (needed, size) in [(4, (8, 6)), (8, (64, 48))] {
        let progressive = decode(&file("progressive.jpg"), &limits, Some(needed)).unwrap();
        assert_eq!((progressive.width, progressive.height), size);
    }
}

#[test]
fn every_truncation_of_every_format_is_an_error_or_a_picture_and_never_a_panic() {
    let spec = InputSpec { resize: Resize::ShorterSide, shorter_side: Some(10), ..InputSpec::default() };
    let mut preprocessor = Preprocessor::new(&spec, Layout::Nchw, (8, 8), ImageLimits::default());
    let mut row = vec![0.0; preprocessor.row_len()];
    for name in
        ["rgb.png", "rgb.jpg", "progressive.jpg", "lossy.webp", "lossless.webp", "animated.gif", "rgb.tiff", "cmyk.jpg"]
    {
        let whole = file(name);
        for cut in 0..whole.len() {
            if let Err(failure) = preprocessor.prepare(&whole[..cut], &mut row) {
                assert!(failure.code.is_clients_fault(), "{name} cut at {cut}: {failure:?}");
            }
        }
    }
}

#[test]
fn a_jpeg_cut_anywhere_is_never_taken_for_whole() {
    for name in ["rgb.jpg", "progressive.jpg"] {
        let whole = file(name);
        for cut in 20..whole.len() - 2 {
            let spec = InputSpec { resize: Resize::Stretch, ..InputSpec::default() };
            let mut preprocessor = Preprocessor::new(&spec, Layout::Nchw, (8, 8), ImageLimits::default());
            let mut row = vec![0.0; preprocessor.row_len()];
            let failure = preprocessor.prepare(&whole[..cut], &mut row).unwrap_err();
            assert!(matches!(failure.code, FailureCode::CorruptImage | FailureCode::NotAnImage), "{failure:?}");
        }
    }
}

#[test]
fn limits_hold_before_a_pixel_is_decoded() {
    let limits = ImageLimits { max_pixels: 64 * 48 - 1, ..ImageLimits::default() };
    for name in ["rgb.png", "rgb.jpg", "lossy.webp", "animated.gif", "rgb.bmp", "rgb.tiff"] {
        let mut preprocessor = Preprocessor::new(&InputSpec::default(), Layout::Nchw, (8, 8), limits);
        let mut row = vec![0.0; preprocessor.row_len()];
        let failure = preprocessor.prepare(&file(name), &mut row).unwrap_err();
        assert_eq!(failure.code, FailureCode::DimensionsTooLarge, "{name}");
    }
}

#[test]
fn random_damage_never_panics_and_is_never_the_servers_fault() {
    let spec = InputSpec { resize: Resize::Fit, ..InputSpec::default() };
    let mut preprocessor = Preprocessor::new(&spec, Layout::Nchw, (16, 16), ImageLimits::default());
    let mut row = vec![0.0; preprocessor.row_len()];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for name in [
        "rgb.png",
        "rgb.jpg",
        "progressive.jpg",
        "lossy.webp",
        "lossless.webp",
        "animated.gif",
        "rgb.tiff",
        "rgb.bmp",
        "turned-6.jpg",
    ] {
        let whole = file(name);
        for _ in 0..300 {
            let mut damaged = whole.clone();
            for _ in 0..=random(6) {
                let at = random(damaged.len());
                damaged[at] = random(256) as u8;
            }
            if let Err(failure) = preprocessor.prepare(&damaged, &mut row) {
                assert!(failure.code.is_clients_fault(), "{name}: {failure:?}");
            }
        }
    }
}
