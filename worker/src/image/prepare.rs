//! The whole way of one image into one row of the input tensor.

use fast_image_resize::Resizer;
use shoal_shared::failure::Failure;
use shoal_shared::manifest::{Color, InputSpec, Layout, Resize};
use shoal_shared::npy::is_npy;
use shoal_shared::sniff::ImageLimits;

use super::decode::decode;
use super::npy;
use super::resize::resize;

/// Turns encoded images into input rows; one for each decode thread, buffers reused.
pub struct Preprocessor {
    resizer: Resizer,
    limits: ImageLimits,
    target: (u32, u32),
    mode: Resize,
    shorter_side: u32,
    color: Color,
    layout: Layout,
    /// Value of every byte after scale, mean and std, a table for each channel of the model.
    tables: Vec<[f32; 256]>,
}

impl Preprocessor {
    /// For inputs of `target` (width, height), processed as `spec` says.
    pub fn new(spec: &InputSpec, layout: Layout, target: (u32, u32), limits: ImageLimits) -> Self {
        let table =
            |(mean, reciprocal): (f32, f32)| std::array::from_fn(|byte| (byte as f32 * spec.scale - mean) * reciprocal);
        Self {
            resizer: Resizer::new(),
            limits,
            target,
            mode: spec.resize,
            shorter_side: spec.shorter_side.unwrap_or(target.0.max(target.1)),
            color: spec.color,
            layout,
            tables: spec.normalisation().into_iter().map(table).collect(),
        }
    }

    /// Values in one row of the input tensor.
    pub fn row_len(&self) -> usize {
        self.target.0 as usize * self.target.1 as usize * self.color.channels()
    }

    fn shape(&self) -> [usize; 3] {
        let (width, height, channels) = (self.target.0 as usize, self.target.1 as usize, self.color.channels());
        match self.layout {
            Layout::Nchw => [channels, height, width],
            Layout::Nhwc => [height, width, channels],
        }
    }

    /// Decodes, resizes, normalises; a tensor is taken as it is. `row` must hold [`Preprocessor::row_len`] values.
    pub fn prepare(&mut self, bytes: &[u8], row: &mut [f32]) -> Result<(), Failure> {
        if is_npy(bytes) {
            return npy::fill(bytes, &self.limits, &self.shape(), row);
        }
        let needed = match self.mode {
            Resize::ShorterSide => self.shorter_side,
            Resize::Stretch | Resize::Fit => self.target.0.max(self.target.1),
        };
        let pixels = decode(bytes, &self.limits, Some(needed))?;
        let rgb = resize(&mut self.resizer, pixels, self.mode, self.shorter_side, self.target)?;
        self.normalise(&rgb, row);
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

    fn normalise(&self, rgb: &[u8], row: &mut [f32]) {
        let order: &[usize] = match self.color {
            Color::Rgb => &[0, 1, 2],
            Color::Bgr => &[2, 1, 0],
            Color::Gray => {
                for (value, pixel) in row.iter_mut().zip(rgb.as_chunks::<3>().0) {
                    *value = self.tables[0][usize::from(luma(*pixel))];
                }
                return;
            }
        };
        match self.layout {
            Layout::Nchw => {
                let plane = self.target.0 as usize * self.target.1 as usize;
                for ((channel, table), values) in order.iter().zip(&self.tables).zip(row.chunks_exact_mut(plane)) {
                    for (value, pixel) in values.iter_mut().zip(rgb.as_chunks::<3>().0) {
                        *value = table[usize::from(pixel[*channel])];
                    }
                }
            }
            Layout::Nhwc => {
                for (values, pixel) in row.as_chunks_mut::<3>().0.iter_mut().zip(rgb.as_chunks::<3>().0) {
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
        preprocessor(Color::Rgb, Layout::Nchw).normalise(&rgb, &mut row);
        assert_eq!(row, [5.0, 6.0, 10.0, 11.0, 15.0, 16.0]);
        preprocessor(Color::Bgr, Layout::Nchw).normalise(&rgb, &mut row);
        assert_eq!(row, [15.0, 16.0, 10.0, 11.0, 5.0, 6.0]);
        preprocessor(Color::Rgb, Layout::Nhwc).normalise(&rgb, &mut row);
        assert_eq!(row, [5.0, 10.0, 15.0, 6.0, 11.0, 16.0]);
    }

    #[test]
    fn luminance_matches_pillow() {
        assert_eq!([luma([255, 0, 0]), luma([0, 255, 0]), luma([0, 0, 255]), luma([255; 3])], [76, 150, 29, 255]);
    }
}
