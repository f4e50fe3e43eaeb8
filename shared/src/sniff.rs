//! Format and dimensions of an image, read from its header alone, and the limits on them.
//!
//! Runs before anything is allocated for pixels: at the gateway so that a bad upload is refused
//! at once, and again in the worker because jobs also come from elsewhere.

use std::fmt;

use imagesize::{ImageError, ImageType};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, FailureCode};
use crate::npy::{self, is_npy};

/// Formats that workers decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy and lossless; of an animation the first frame.
    WebP,
    /// GIF; of an animation the first frame.
    Gif,
    /// BMP.
    Bmp,
    /// TIFF; of several pages the first.
    Tiff,
    /// No image but a tensor that takes its place: the model's input, ready made.
    Npy,
}

impl ImageFormat {
    /// Usual file name extension.
    pub fn extension(self) -> &'static str {
        match self {
            ImageFormat::Jpeg => "jpeg",
            ImageFormat::Png => "png",
            ImageFormat::WebP => "webp",
            ImageFormat::Gif => "gif",
            ImageFormat::Bmp => "bmp",
            ImageFormat::Tiff => "tiff",
            ImageFormat::Npy => "npy",
        }
    }

    fn of(kind: ImageType) -> Option<Self> {
        match kind {
            ImageType::Jpeg => Some(ImageFormat::Jpeg),
            ImageType::Png => Some(ImageFormat::Png),
            ImageType::Webp => Some(ImageFormat::WebP),
            ImageType::Gif => Some(ImageFormat::Gif),
            ImageType::Bmp => Some(ImageFormat::Bmp),
            ImageType::Tiff => Some(ImageFormat::Tiff),
            _ => None,
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// What the header declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// The format, by content, never by file name.
    pub format: ImageFormat,
    /// Width in pixels; of a tensor the number of its values.
    pub width: u32,
    /// Height in pixels; of a tensor 1.
    pub height: u32,
}

/// Bounds on an image, checked from the header before decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageLimits {
    /// Longest encoded image in bytes.
    pub max_bytes: usize,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Most pixels: bounds the memory of one decode at about 4 bytes each.
    pub max_pixels: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self { max_bytes: 20 * 1024 * 1024, max_side: 16_384, max_pixels: 64_000_000 }
    }
}

/// The format that the first bytes announce.
pub fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    if is_npy(bytes) {
        return Some(ImageFormat::Npy);
    }
    imagesize::image_type(bytes).ok().and_then(ImageFormat::of)
}

/// Reads the header of `bytes` and holds it against `limits`.
pub fn sniff(bytes: &[u8], limits: &ImageLimits) -> Result<ImageHeader, Failure> {
    if bytes.is_empty() {
        return Err(Failure::new(FailureCode::NotAnImage, "the image is empty (0 bytes)"));
    }
    if bytes.len() > limits.max_bytes {
        let message = format!("the image has {} bytes, the limit is {}", bytes.len(), limits.max_bytes);
        return Err(Failure::new(FailureCode::TooLarge, message));
    }
    if is_npy(bytes) {
        // Three channels a pixel are the most that a model takes.
        let tensor = npy::header(bytes, limits.max_pixels.saturating_mul(3))?;
        return Ok(ImageHeader { format: ImageFormat::Npy, width: side(tensor.values()), height: 1 });
    }
    let kind = imagesize::image_type(bytes).map_err(|_| not_an_image())?;
    let format = ImageFormat::of(kind).ok_or_else(|| {
        let name = kind_name(kind);
        Failure::new(
            FailureCode::UnsupportedFormat,
            format!("{name} images are not served: send JPEG, PNG, WebP, GIF, BMP or TIFF, or a tensor (.npy)"),
        )
    })?;
    let size = imagesize::blob_size(bytes).map_err(|error| match error {
        ImageError::NotSupported => not_an_image(),
        ImageError::CorruptedImage | ImageError::IoError(_) => {
            Failure::new(FailureCode::CorruptImage, format!("the {format} header is damaged or cut off"))
        }
    })?;
    let header = ImageHeader { format, width: side(size.width), height: side(size.height) };
    check_dimensions(&header, limits)?;
    Ok(header)
}

/// Holds decoded or declared dimensions against `limits`.
pub fn check_dimensions(header: &ImageHeader, limits: &ImageLimits) -> Result<(), Failure> {
    let ImageHeader { width, height, .. } = *header;
    if width == 0 || height == 0 {
        let message = format!("the image declares {width}x{height} pixels");
        return Err(Failure::new(FailureCode::CorruptImage, message));
    }
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > limits.max_side || pixels > limits.max_pixels {
        let message = format!(
            "the image is {width}x{height} pixels: the limits are {} a side and {} in all",
            limits.max_side, limits.max_pixels
        );
        return Err(Failure::new(FailureCode::DimensionsTooLarge, message));
    }
    Ok(())
}

fn side(pixels: usize) -> u32 {
    u32::try_from(pixels).unwrap_or(u32::MAX)
}

fn not_an_image() -> Failure {
    Failure::new(
        FailureCode::NotAnImage,
        "the bytes are not an image: no JPEG, PNG, WebP, GIF, BMP, TIFF or .npy signature was found",
    )
}

/// What a person calls it: `Heif(Av1)` is AVIF, `Ico` is ICO.
fn kind_name(kind: ImageType) -> String {
    let debug = format!("{kind:?}");
    match debug.split_once('(') {
        Some(("Heif", "Av1)")) => "AVIF".to_owned(),
        Some((family, _)) => family.to_uppercase(),
        None => debug.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    fn code(bytes: &[u8]) -> FailureCode {
        sniff(bytes, &ImageLimits::default()).unwrap_err().code
    }

    #[test]
    fn a_plain_header_is_read() {
        let header = sniff(&png_header(640, 480), &ImageLimits::default()).unwrap();
        assert_eq!(header, ImageHeader { format: ImageFormat::Png, width: 640, height: 480 });
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_right_code() {
        assert_eq!(code(b""), FailureCode::NotAnImage);
        assert_eq!(code(b"just some text, called .jpg"), FailureCode::NotAnImage);
        assert_eq!(code(b"PK\x03\x04 a zip archive of something"), FailureCode::NotAnImage);
        assert_eq!(code(&png_header(60_000, 60_000)), FailureCode::DimensionsTooLarge);
        assert_eq!(code(&png_header(0, 5)), FailureCode::CorruptImage);
        assert_eq!(code(b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\x01\0H\0H"), FailureCode::CorruptImage);
    }

    #[test]
    fn no_prefix_of_a_header_panics() {
        let whole = png_header(10, 10);
        for cut in 0..whole.len() {
            let _ = sniff(&whole[..cut], &ImageLimits::default());
        }
    }
}
