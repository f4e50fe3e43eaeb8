//! From decoded pixels to the model's size, upright. Antialiased bilinear filtering on 8-bit
//! pixels, the arithmetic of Pillow's `resize(…, BILINEAR)`.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::manifest::Resize;

use super::decode::Pixels;

/// A rectangle of the source, in source pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Region {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// What part of the source lands where: `to` is centred in the target, the rest stays black.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Placement {
    from: Region,
    to: (u32, u32),
}

/// Resizes into `width` x `height` RGB, the way the manifest says.
pub(super) fn resize(
    resizer: &mut Resizer,
    pixels: Pixels,
    mode: Resize,
    shorter_side: u32,
    target: (u32, u32),
) -> Result<Vec<u8>, Failure> {
    // The image is turned upright after it has become small: the target lies on its side till then.
    let turned = is_transposed(pixels.orientation);
    let lying = if turned { (target.1, target.0) } else { target };
    let placement = place((pixels.width, pixels.height), mode, shorter_side, lying);
    let small = run(resizer, &pixels, placement).map_err(|error| {
        Failure::new(FailureCode::Internal, format!("resizing {}x{} pixels: {error}", pixels.width, pixels.height))
    })?;
    let upright = turn_upright(small, placement.to, pixels.orientation);
    Ok(pad(upright, target))
}

fn is_transposed(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

fn place(source: (u32, u32), mode: Resize, shorter_side: u32, target: (u32, u32)) -> Placement {
    let (width, height) = (f64::from(source.0), f64::from(source.1));
    let whole = Region { left: 0.0, top: 0.0, width, height };
    match mode {
        Resize::Stretch => Placement { from: whole, to: target },
        Resize::Fit => {
            let scale = (f64::from(target.0) / width).min(f64::from(target.1) / height);
            let side = |length: f64, most: u32| ((length * scale).round() as u32).clamp(1, most);
            Placement { from: whole, to: (side(width, target.0), side(height, target.1)) }
        }
        Resize::ShorterSide => {
            // Sides after the resize, truncated as torchvision does; the crop is then expressed in
            // source pixels so that only what is kept gets computed.
            let shorter = width.min(height);
            let resized = |length: f64| (length * f64::from(shorter_side) / shorter).floor().max(1.0);
            let axis = |length: f64, crop: u32| {
                let resized = resized(length);
                let crop = f64::from(crop).min(resized);
                let offset = ((resized - crop) / 2.0).round();
                (offset * length / resized, crop * length / resized)
            };
            let (left, region_width) = axis(width, target.0);
            let (top, region_height) = axis(height, target.1);
            let side = |length: f64, most: u32| most.min(resized(length) as u32);
            Placement {
                from: Region {
                    left,
                    top,
                    width: region_width.min(width - left),
                    height: region_height.min(height - top),
                },
                to: (side(width, target.0), side(height, target.1)),
            }
        }
    }
}

fn run(resizer: &mut Resizer, pixels: &Pixels, placement: Placement) -> Result<Vec<u8>, String> {
    let source = ImageRef::new(pixels.width, pixels.height, &pixels.rgb, PixelType::U8x3).map_err(|e| e.to_string())?;
    let mut target = Image::new(placement.to.0, placement.to.1, PixelType::U8x3);
    let Region { left, top, width, height } = placement.from;
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(left, top, width, height);
    resizer.resize(&source, &mut target, &options).map_err(|e| e.to_string())?;
    Ok(target.into_vec())
}

fn turn_upright(rgb: Vec<u8>, size: (u32, u32), orientation: Orientation) -> RgbImage {
    let image = RgbImage::from_raw(size.0, size.1, rgb).unwrap_or_default();
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

/// Centres a smaller image on black.
fn pad(image: RgbImage, target: (u32, u32)) -> Vec<u8> {
    if image.dimensions() == target {
        return image.into_raw();
    }
    let mut canvas = RgbImage::new(target.0, target.1);
    let left = (target.0 - image.width().min(target.0)) / 2;
    let top = (target.1 - image.height().min(target.1)) / 2;
    image::imageops::replace(&mut canvas, &image, i64::from(left), i64::from(top));
    canvas.into_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_landscape_photo_keeps_its_centre() {
        // 451x300 → shorter side 256 → 384x256 → crop 224: offsets 80 and 16.
        let placement = place((451, 300), Resize::ShorterSide, 256, (224, 224));
        assert_eq!(placement.to, (224, 224));
        assert!((placement.from.left - 80.0 * 451.0 / 384.0).abs() < 1e-9);
        assert!((placement.from.top - 16.0 * 300.0 / 256.0).abs() < 1e-9);
    }

    #[test]
    fn fit_keeps_the_aspect_ratio_and_pads() {
        let placement = place((400, 100), Resize::Fit, 0, (200, 200));
        assert_eq!(placement.to, (200, 50));
        let padded = pad(RgbImage::from_pixel(200, 50, image::Rgb([255; 3])), (200, 200));
        assert_eq!(padded.len(), 200 * 200 * 3);
        assert_eq!((padded[0], padded[(100 * 200 + 100) * 3]), (0, 255));
    }

    #[test]
    fn extreme_shapes_stay_inside_the_source() {
        for source in [(1, 1), (1, 5000), (5000, 1), (3, 2), (16384, 7), (224, 224)] {
            for mode in [Resize::ShorterSide, Resize::Stretch, Resize::Fit] {
                let Placement { from, to } = place(source, mode, 256, (224, 224));
                assert!(
                    from.left >= 0.0 && from.left + from.width <= f64::from(source.0) + 1e-6,
                    "{source:?} {mode:?}"
                );
                assert!(from.top >= 0.0 && from.top + from.height <= f64::from(source.1) + 1e-6, "{source:?} {mode:?}");
                assert!((1..=224).contains(&to.0) && (1..=224).contains(&to.1), "{source:?} {mode:?} {to:?}");
            }
        }
    }
}
