//! Encoded bytes to 8-bit RGB, upright information included.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::sniff::{ImageFormat, ImageHeader, ImageLimits, check_dimensions, sniff};

use super::helpers::Helpers;
use super::jpeg::JpegDecoder;
use super::picture::{Channels, Extent, Part, Picture, Wanted};

/// A decoded image: rows of RGB bytes, not yet turned upright.
pub struct Pixels {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub rgb: Vec<u8>,
    /// How to turn it upright.
    pub orientation: Orientation,
}

/// Decodes an image within `limits`. Every failure is the image's, with a sentence that says what
/// is wrong with it.
///
/// An image whose shorter side is much longer than `needed` may come at a fraction of its size.
pub fn decode(bytes: &[u8], limits: &ImageLimits, needed: Option<u32>) -> Result<Pixels, Failure> {
    let whole = |extent: Extent, _| {
        let (width, height) = extent.size();
        Part { left: 0, top: 0, width, height }
    };
    let wanted = needed.map(|needed| Wanted { needed, channels: Channels::Rgb, part_of: &whole });
    let picture = Decoder::default().decode(bytes, limits, wanted.as_ref())?;
    let (width, height) = picture.extent.size();
    Ok(Pixels { width, height, rgb: picture.bytes, orientation: picture.orientation })
}

/// Decodes images; buffers are used again.
#[derive(Default)]
pub(super) struct Decoder {
    jpeg: JpegDecoder,
}

impl Decoder {
    /// One that may be helped.
    pub(super) fn new(helpers: Helpers) -> Self {
        Self { jpeg: JpegDecoder::new(helpers) }
    }

    /// A picture within `limits`, of which there is at least what is `wanted`.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        wanted: Option<&Wanted<'_>>,
    ) -> Result<Picture, Failure> {
        let header = sniff(bytes, limits)?;
        let format = match header.format {
            ImageFormat::Jpeg => return self.jpeg.decode(bytes, limits, wanted),
            ImageFormat::Npy => return Err(Failure::new(FailureCode::NotAnImage, "a tensor has no pixels to decode")),
            ImageFormat::Png => image::ImageFormat::Png,
            ImageFormat::WebP => image::ImageFormat::WebP,
            ImageFormat::Gif => image::ImageFormat::Gif,
            ImageFormat::Bmp => image::ImageFormat::Bmp,
            ImageFormat::Tiff => image::ImageFormat::Tiff,
        };
        decode_other(bytes, header, format, limits)
    }

    /// Takes back the bytes of a picture, to be written over.
    pub(super) fn reuse(&mut self, bytes: Vec<u8>) {
        self.jpeg.reuse(bytes);
    }
}

fn decode_other(
    bytes: &[u8],
    header: ImageHeader,
    format: image::ImageFormat,
    limits: &ImageLimits,
) -> Result<Picture, Failure> {
    let damaged = |error: ImageError| damaged(header.format, &error);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut memory = Limits::default();
    // RGBA at 16 bits a channel is the widest pixel there is; a decoder may hold it twice.
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(16));
    memory.max_image_width = Some(limits.max_side);
    memory.max_image_height = Some(limits.max_side);
    reader.limits(memory.clone());
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_dimensions(&ImageHeader { width, height, ..header }, limits)?;
    decoder.set_limits(memory).map_err(damaged)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok(Picture::whole((width, height), image.into_rgb8().into_raw(), orientation))
}

fn damaged(format: ImageFormat, error: &ImageError) -> Failure {
    match error {
        ImageError::Limits(_) => Failure::new(
            FailureCode::DimensionsTooLarge,
            format!("decoding the {format} would exceed the memory limit"),
        ),
        ImageError::Unsupported(error) => {
            Failure::new(FailureCode::UnsupportedFormat, format!("this kind of {format} is not served: {error}"))
        }
        error => Failure::new(FailureCode::CorruptImage, format!("the {format} image is damaged or cut off: {error}")),
    }
}
