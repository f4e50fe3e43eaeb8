//! From decoded pixels to the model's size, upright. Antialiased bilinear filtering on 8-bit
//! pixels, the arithmetic of Pillow's `resize(…, BILINEAR)`.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::manifest::Resize;

use super::means;
use super::picture::{Channels, Extent, Part, Picture};

/// What pictures become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) mode: Resize,
    /// Pixels of the shorter side before the centre is cut out, in that mode.
    pub(super) shorter_side: u32,
    /// Width and height.
    pub(super) size: (u32, u32),
}

impl Target {
    /// Pixels that the shorter side of a picture has in the end.
    pub(super) fn needed(&self) -> u32 {
        match self.mode {
            Resize::ShorterSide => self.shorter_side,
            Resize::Stretch | Resize::Fit => self.size.0.max(self.size.1),
        }
    }

    /// The part of a picture that something of is seen in the end.
    pub(super) fn part_of(&self, extent: Extent, orientation: Orientation) -> Part {
        let Placement { from, to } = self.place(extent, orientation);
        let axis = |start: f64, length: f64, to: u32, whole: u32| {
            // The filter reaches one target pixel further, and what it is laid over needs its neighbours.
            let reach = (length / f64::from(to)).max(1.0) + 1.0 + means::REACH;
            let first = (start - reach).floor().clamp(0.0, f64::from(whole - 1));
            let end = (start + length + reach).ceil().clamp(first + 1.0, f64::from(whole));
            (first as u32, (end - first) as u32)
        };
        let size = extent.size();
        let (left, width) = axis(from.left, from.width, to.0, size.0);
        let (top, height) = axis(from.top, from.height, to.1, size.1);
        Part { left, top, width, height }
    }

    /// The picture is turned upright after it has become small: till then the target lies on its side. What part is seen is
    /// decided by the size of what was encoded, whatever it was read at.
    fn place(&self, extent: Extent, orientation: Orientation) -> Placement {
        let lying = if is_transposed(orientation) { (self.size.1, self.size.0) } else { self.size };
        let Placement { from, to } = place(extent.whole, self.mode, self.shorter_side, lying);
        let pixels = |length: f64| length / f64::from(extent.reduction);
        let from = Region {
            left: pixels(from.left),
            top: pixels(from.top),
            width: pixels(from.width),
            height: pixels(from.height),
        };
        Placement { from, to }
    }
}

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

/// Makes pictures small; buffers are used again.
#[derive(Default)]
pub(super) struct Shrinker {
    resizer: Resizer,
}

impl Shrinker {
    /// Resizes into pixels of the target's size, upright, as many channels as the picture has.
    pub(super) fn shrink(&mut self, picture: &Picture, target: &Target, small: &mut Vec<u8>) -> Result<(), Failure> {
        let placement = target.place(picture.extent, picture.orientation);
        self.resize(picture, placement, small).map_err(|error| {
            let (width, height) = picture.extent.size();
            Failure::new(FailureCode::Internal, format!("resizing {width}x{height} pixels: {error}"))
        })?;
        let mut size = placement.to;
        if picture.orientation != Orientation::NoTransforms {
            let lying = std::mem::take(small);
            (*small, size) = turn_upright(lying, size, picture.channels, picture.orientation);
        }
        if size != target.size {
            *small = pad(small, size, target.size, picture.channels);
        }
        Ok(())
    }

    fn resize(&mut self, picture: &Picture, placement: Placement, small: &mut Vec<u8>) -> Result<(), String> {
        let length = placement.to.0 as usize * placement.to.1 as usize * picture.channels as usize;
        small.resize(length, 0);
        match picture.channels {
            Channels::Luma => self.resize_pixels::<U8>(picture, placement, small),
            Channels::Rgb => self.resize_pixels::<U8x3>(picture, placement, small),
        }
    }

    /// By type: the resizer would be compiled for all pixels that there are.
    fn resize_pixels<P: PixelTrait>(
        &mut self,
        picture: &Picture,
        placement: Placement,
        small: &mut [u8],
    ) -> Result<(), String> {
        let Picture { part, bytes, .. } = picture;
        let source =
            TypedImageRef::<P>::from_buffer(part.width, part.height, bytes).map_err(|error| error.to_string())?;
        let to = placement.to;
        let mut small = TypedImage::<P>::from_buffer(to.0, to.1, small).map_err(|error| error.to_string())?;
        let Region { left, top, width, height } = placement.from;
        let (left, top) = (left - f64::from(part.left), top - f64::from(part.top));
        let filter = match picture.extent.reduction {
            1 => FilterType::Bilinear,
            _ => means::filter((width / f64::from(to.0) * height / f64::from(to.1)).sqrt()),
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(left, top, width, height);
        self.resizer.resize_typed(&source, &mut small, &options).map_err(|error| error.to_string())
    }
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

fn turn_upright(
    bytes: Vec<u8>,
    size: (u32, u32),
    channels: Channels,
    orientation: Orientation,
) -> (Vec<u8>, (u32, u32)) {
    let mut image: DynamicImage = match channels {
        Channels::Luma => GrayImage::from_raw(size.0, size.1, bytes).unwrap_or_default().into(),
        Channels::Rgb => RgbImage::from_raw(size.0, size.1, bytes).unwrap_or_default().into(),
    };
    image.apply_orientation(orientation);
    let size = (image.width(), image.height());
    (image.into_bytes(), size)
}

/// Centres a smaller image on black.
fn pad(image: &[u8], size: (u32, u32), target: (u32, u32), channels: Channels) -> Vec<u8> {
    let row = |width: u32| width as usize * channels as usize;
    let mut canvas = vec![0; row(target.0) * target.1 as usize];
    let (left, top) = (row((target.0 - size.0.min(target.0)) / 2), (target.1 - size.1.min(target.1)) / 2);
    let rows = canvas.chunks_exact_mut(row(target.0)).skip(top as usize);
    for (to, from) in rows.zip(image.chunks_exact(row(size.0))) {
        to[left..][..from.len()].copy_from_slice(from);
    }
    canvas
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
        let padded = pad(&[255; 200 * 50 * 3], (200, 50), (200, 200), Channels::Rgb);
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
