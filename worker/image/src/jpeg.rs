//! JPEG: the common case, decoded on its fast path, and large ones at a fraction of their size.

mod bits;
mod blocks;
mod codes;
mod colour;
mod frame;
mod party;
mod plane;
mod progressive;
mod scaled;
mod steps;
mod tables;
mod transform;
mod walk;

use image::metadata::Orientation;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::sniff::ImageLimits;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use super::helpers::Helpers;
use super::picture::{Picture, Wanted};

/// Decodes JPEGs; buffers and tables are used again.
#[derive(Default)]
pub(super) struct JpegDecoder {
    scaler: scaled::Scaler,
    helpers: Helpers,
}

impl JpegDecoder {
    /// One that may be helped.
    pub(super) fn new(helpers: Helpers) -> Self {
        Self { scaler: scaled::Scaler::default(), helpers }
    }

    /// The whole picture, unless a part of it at a fraction of its size is all that is wanted.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        wanted: Option<&Wanted<'_>>,
    ) -> Result<Picture, Failure> {
        if !is_complete(bytes) {
            return Err(corrupt("it ends before its end marker"));
        }
        match wanted.and_then(|wanted| self.scaler.decode(bytes, limits, wanted, &self.helpers)) {
            Some(picture) => Ok(picture),
            None => decode_whole(bytes, limits),
        }
    }

    /// Takes back the bytes of a picture, to be written over.
    pub(super) fn reuse(&mut self, bytes: Vec<u8>) {
        self.scaler.reuse(bytes);
    }
}

/// Strictly: a decoder that is not shows whatever it can of a damaged file, and a model is as sure of that as of the whole.
fn decode_whole(bytes: &[u8], limits: &ImageLimits) -> Result<Picture, Failure> {
    let side = limits.max_side as usize;
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| corrupt(&error.to_string()))?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let info = decoder.info().ok_or_else(|| corrupt("it has no frame header"))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let rgb = decoder.decode().map_err(|error| corrupt(&error.to_string()))?;
    if rgb.len() != width as usize * height as usize * 3 {
        return Err(corrupt("its colour components do not make up an RGB image"));
    }
    Ok(Picture::whole((width, height), rgb, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn corrupt(what: &str) -> Failure {
    Failure::new(
        FailureCode::CorruptImage,
        format!("the jpeg image is damaged or cut off: {}", what.trim_end().trim_matches('"')),
    )
}

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Whether an end marker follows the first scan. A decoder paints the missing rest of a truncated
/// upload grey and calls it a success; a wrong answer is worse than none. The search starts at the
/// scan because thumbnails in the header have end markers of their own.
fn is_complete(bytes: &[u8]) -> bool {
    first_scan(bytes).is_none_or(|scan| memchr::memmem::rfind(&bytes[scan..], &END_OF_IMAGE).is_some())
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
