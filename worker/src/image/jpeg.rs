//! JPEG: the common case, decoded on its fast path, and large ones at a fraction of their size.

mod frame;
mod huffman;
mod scaled;

use image::metadata::Orientation;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::sniff::ImageLimits;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::decode::Pixels;

use scaled::{Remaining, Scaled};

/// `needed`: pixels that the shorter side must keep; what is larger may come smaller.
pub(super) fn decode(bytes: &[u8], limits: &ImageLimits, needed: Option<u32>) -> Result<Pixels, Failure> {
    if !is_complete(bytes) {
        return Err(corrupt("it ends before its end marker"));
    }
    let side = limits.max_side as usize;
    let options =
        DecoderOptions::default().set_max_width(side).set_max_height(side).jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| corrupt(&error.to_string()))?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let info = decoder.info().ok_or_else(|| corrupt("it has no frame header"))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let remaining = needed.and_then(|needed| Remaining::for_side(width.min(height), needed));
    if let Some(Scaled { width, height, rgb }) = remaining.and_then(|remaining| scaled::decode(bytes, remaining)) {
        return Ok(Pixels { width, height, rgb, orientation: orientation.unwrap_or(Orientation::NoTransforms) });
    }
    let rgb = decoder.decode().map_err(|error| corrupt(&error.to_string()))?;
    if rgb.len() != width as usize * height as usize * 3 {
        return Err(corrupt("its colour components do not make up an RGB image"));
    }
    Ok(Pixels { width, height, rgb, orientation: orientation.unwrap_or(Orientation::NoTransforms) })
}

fn corrupt(what: &str) -> Failure {
    Failure::new(FailureCode::CorruptImage, format!("the jpeg image is damaged or cut off: {what}"))
}

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Whether an end marker follows the first scan. A decoder paints the missing rest of a truncated
/// upload grey and calls it a success; a wrong answer is worse than none. The search starts at the
/// scan because thumbnails in the header have end markers of their own.
fn is_complete(bytes: &[u8]) -> bool {
    first_scan(bytes).is_none_or(|scan| bytes[scan..].windows(2).rev().any(|pair| pair == END_OF_IMAGE))
}

/// Offset of the first scan's marker; `None` when the segments before it make no sense, which the
/// decoder can say better.
fn first_scan(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        let (&prefix, &marker) = (bytes.get(at)?, bytes.get(at + 1)?);
        match (prefix, marker) {
            (0xff, START_OF_SCAN) => return Some(at),
            // Fill bytes and markers without a segment.
            (0xff, 0xff) => at += 1,
            (0xff, 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => at += 2 + usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?])),
            _ => return None,
        }
    }
}
