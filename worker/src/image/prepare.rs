//! The whole way of one image into one row of the input tensor.

use shoal_shared::failure::Failure;
use shoal_shared::manifest::{Color, InputSpec, Layout};
use shoal_shared::npy::is_npy;
use shoal_shared::sniff::ImageLimits;

use super::decode::Decoder;
use super::helpers::Helpers;
use super::npy;
use super::picture::{Channels, Wanted};
use super::resize::{Shrinker, Target};

/// Turns encoded images into input rows; one for each decode thread, buffers reused.
pub struct Preprocessor {
    decoder: Decoder,
    shrinker: Shrinker,
    limits: ImageLimits,
    target: Target,
    normaliser: Normaliser,
}

impl Preprocessor {
    /// For inputs of `target` (width, height), processed as `spec` says.
    pub fn new(spec: &InputSpec, layout: Layout, target: (u32, u32), limits: ImageLimits) -> Self {
        let table =
            |(mean, reciprocal): (f32, f32)| std::array::from_fn(|byte| (byte as f32 * spec.scale - mean) * reciprocal);
        Self {
            decoder: Decoder::default(),
            shrinker: Shrinker::default(),
            limits,
            target: Target {
                mode: spec.resize,
                shorter_side: spec.shorter_side.unwrap_or(target.0.max(target.1)),
                size: target,
            },
            normaliser: Normaliser {
                color: spec.color,
                layout,
                tables: spec.normalisation().into_iter().map(table).collect(),
            },
        }
    }

    /// Lets others help with large images.
    #[must_use]
    pub fn helped_by(mut self, helpers: Helpers) -> Self {
        self.decoder = Decoder::new(helpers);
        self
    }

    /// Values in one row of the input tensor.
    pub fn row_len(&self) -> usize {
        self.target.size.0 as usize * self.target.size.1 as usize * self.normaliser.color.channels()
    }

    fn shape(&self) -> [usize; 3] {
        let (width, height, channels) =
            (self.target.size.0 as usize, self.target.size.1 as usize, self.normaliser.color.channels());
        match self.normaliser.layout {
            Layout::Nchw => [channels, height, width],
            Layout::Nhwc => [height, width, channels],
        }
    }

    /// Decodes, resizes, normalises; a tensor is taken as it is. `row` must hold [`Preprocessor::row_len`] values.
    pub fn prepare(&mut self, bytes: &[u8], row: &mut [f32]) -> Result<(), Failure> {
        if is_npy(bytes) {
            return npy::fill(bytes, &self.limits, &self.shape(), row);
        }
        let wanted = Wanted {
            needed: self.target.needed(),
            channels: if self.normaliser.color == Color::Gray { Channels::Luma } else { Channels::Rgb },
            part_of: &|size, orientation| self.target.part_of(size, orientation),
        };
        let picture = self.decoder.decode(bytes, &self.limits, Some(&wanted))?;
        let pixels = self.shrinker.shrink(&picture, &self.target)?;
        self.normaliser.fill(pixels, picture.channels, row);
        self.decoder.reuse(picture.bytes);
        Ok(())
    }

    /// Prepares a picture made up for the purpose, so that the first real one finds code and tables
    /// in memory.
    pub fn warm_up(&mut self) {
        let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 4, y as u8 * 4, 128]));
        let mut row = vec![0.0; self.row_len()];
        for format in [image::ImageFormat::Jpeg, image::ImageFormat::Png] {
            let mut bytes = std::io::Cursor::new(Vec::new());
            if picture.write_to(&mut bytes, format).is_ok() {
                let _ = self.prepare(bytes.get_ref(), &mut row);
            }
        }
    }
}

/// What becomes of a byte.
struct Normaliser {
    color: Color,
    layout: Layout,
    /// Value of every byte after scale, mean and std, a table for each channel of the model.
    tables: Vec<[f32; 256]>,
}

impl Normaliser {
    /// Fills `row` from upright pixels of the target's size.
    fn fill(&self, pixels: &[u8], channels: Channels, row: &mut [f32]) {
        let order: &[usize] = match (self.color, channels) {
            (Color::Rgb, _) => &[0, 1, 2],
            (Color::Bgr, _) => &[2, 1, 0],
            (Color::Gray, Channels::Luma) => {
                for (value, luma) in row.iter_mut().zip(pixels) {
                    *value = self.tables[0][usize::from(*luma)];
                }
                return;
            }
            (Color::Gray, Channels::Rgb) => {
                for (value, pixel) in row.iter_mut().zip(pixels.as_chunks::<3>().0) {
                    *value = self.tables[0][usize::from(luma(*pixel))];
                }
                return;
            }
        };
        let pixels = pixels.as_chunks::<3>().0;
        match self.layout {
            Layout::Nchw => {
                let planes = row.chunks_exact_mut(pixels.len().max(1));
                for ((channel, table), values) in order.iter().zip(&self.tables).zip(planes) {
                    for (value, pixel) in values.iter_mut().zip(pixels) {
                        *value = table[usize::from(pixel[*channel])];
                    }
                }
            }
            Layout::Nhwc => {
                for (values, pixel) in row.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                    for (value, (channel, table)) in values.iter_mut().zip(order.iter().zip(&self.tables)) {
                        *value = table[usize::from(pixel[*channel])];
                    }
                }
            }
        }
    }
}

/// ITU-R 601 luminance in the fixed-point arithmetic of Pillow's `convert("L")`.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocessor(color: Color, layout: Layout) -> Preprocessor {
        let spec = InputSpec { color, layout, mean: vec![1.0], std: vec![2.0], ..InputSpec::default() };
        Preprocessor::new(&spec, layout, (2, 1), ImageLimits::default())
    }

    #[test]
    fn channel_order_and_layout() {
        let rgb = [11, 21, 31, 13, 23, 33];
        let mut row = [0.0; 6];
        preprocessor(Color::Rgb, Layout::Nchw).normaliser.fill(&rgb, Channels::Rgb, &mut row);
        assert_eq!(row, [5.0, 6.0, 10.0, 11.0, 15.0, 16.0]);
        preprocessor(Color::Bgr, Layout::Nchw).normaliser.fill(&rgb, Channels::Rgb, &mut row);
        assert_eq!(row, [15.0, 16.0, 10.0, 11.0, 5.0, 6.0]);
        preprocessor(Color::Rgb, Layout::Nhwc).normaliser.fill(&rgb, Channels::Rgb, &mut row);
        assert_eq!(row, [5.0, 10.0, 15.0, 6.0, 11.0, 16.0]);
    }

    #[test]
    fn luminance_matches_pillow() {
        assert_eq!([luma([255, 0, 0]), luma([0, 255, 0]), luma([0, 0, 255]), luma([255; 3])], [76, 150, 29, 255]);
    }
}
