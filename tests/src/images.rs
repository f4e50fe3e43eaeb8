//! Real image bytes.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use crate::process::repository;

/// One of the embedded model's held-out samples.
pub fn digit(digit: u8) -> Vec<u8> {
    let path = repository().join(format!("worker/models/digits/samples/digit-{digit}.png"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same digit with its corner pixel at `number`'s grey levels: other bytes, same meaning.
/// Every `number` below 2¹⁶ gives a different image.
pub fn digit_variant(value: u8, number: u32) -> Vec<u8> {
    let mut image = image::load_from_memory(&digit(value)).unwrap().into_luma8();
    let bits = (0..16).map(|bit| (number >> bit) & 1);
    for (x, bit) in (0..).zip(bits) {
        let pixel = image.get_pixel_mut(x, 0);
        pixel.0[0] = (pixel.0[0] & 0xf0) | if bit == 1 { 8 } else { 0 };
    }
    encode(&DynamicImage::ImageLuma8(image), ImageFormat::Png)
}

/// A picture of one grey, in a size of its own for every `number` below 2¹²: other bytes, same
/// meaning. The brittle model's worker dies of 255, its session fails on 128.
pub fn solid(grey: u8, number: u32) -> Vec<u8> {
    let image = image::RgbImage::from_pixel(8 + number % 64, 8 + number / 64, image::Rgb([grey; 3]));
    encode(&image.into(), ImageFormat::Png)
}

/// A square of noise: a PNG of three bytes a pixel, different for every `seed`.
pub fn noise(side: u32, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let image = image::RgbImage::from_fn(side, side, |_, _| image::Rgb([rng.u8(..), rng.u8(..), rng.u8(..)]));
    encode(&image.into(), ImageFormat::Png)
}

/// Pictures made of one photograph: parts of it, mirrored, lighter, darker, paler, in other hues, blurred. Another
/// one for every `number`, and always the same.
pub fn variant(photo: &DynamicImage, number: u64) -> DynamicImage {
    let mut rng = fastrand::Rng::with_seed(number);
    let part = 0.6 + 0.4 * rng.f32();
    let side = |whole: u32| (whole as f32 * part) as u32;
    let (width, height) = (side(photo.width()), side(photo.height()));
    let (left, top) = (rng.u32(0..=photo.width() - width), rng.u32(0..=photo.height() - height));
    let crop = photo.crop_imm(left, top, width, height);
    let turned = if rng.bool() { crop.fliph() } else { crop };
    let lit = turned.brighten(rng.i32(-50..=50)).adjust_contrast(rng.i32(-30..=30) as f32);
    let tinted = lit.huerotate(rng.i32(-20..=20));
    if rng.u8(0..4) == 0 { tinted.blur(1.0 + rng.f32()) } else { tinted }
}

/// Encodes an image.
pub fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG header that declares dimensions and holds nothing.
pub fn png_declaring(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d".to_vec();
    bytes.extend_from_slice(&chunk);
    bytes.extend(crc32(&chunk).to_be_bytes());
    bytes.extend([0; 64]);
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
