//! One image between the decode threads and the input tensor.

use std::sync::Arc;

use shoal_shared::manifest::{Color, InputSpec, Layout};

use super::picture::Channels;

/// What a decode thread has made of an image. Pixels stay bytes until the batch is put together: a quarter of what
/// goes from core to core, and of what waits.
#[derive(Debug, Default)]
pub struct Row {
    /// Upright, of the model's size.
    pub(super) pixels: Vec<u8>,
    pub(super) content: Content,
}

/// What is in a row.
#[derive(Debug)]
pub(super) enum Content {
    /// Its pixels.
    Pixels(Channels),
    /// A tensor's values: nothing is done to them.
    Values(Vec<f32>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Pixels(Channels::Rgb)
    }
}

/// Puts rows into the input tensor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Normaliser(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    color: Color,
    layout: Layout,
    /// Value of every byte after scale, mean and std, a table for each channel of the model.
    tables: Vec<[f32; 256]>,
}

impl Normaliser {
    /// For inputs as `spec` describes them, with axes in the order of `layout`.
    pub fn new(spec: &InputSpec, layout: Layout) -> Self {
        let table =
            |(mean, reciprocal): (f32, f32)| std::array::from_fn(|byte| (byte as f32 * spec.scale - mean) * reciprocal);
        let tables = spec.normalisation().into_iter().map(table).collect();
        Self(Arc::new(Inner { color: spec.color, layout, tables }))
    }

    /// The colour that the model sees.
    pub(super) fn color(&self) -> Color {
        self.0.color
    }

    /// The order of the model's axes.
    pub(super) fn layout(&self) -> Layout {
        self.0.layout
    }

    /// Fills an image's part of the tensor.
    pub fn fill(&self, row: &Row, values: &mut [f32]) {
        match &row.content {
            Content::Pixels(channels) => self.fill_pixels(&row.pixels, *channels, values),
            Content::Values(own) => {
                let length = own.len().min(values.len());
                values[..length].copy_from_slice(&own[..length]);
            }
        }
    }

    fn fill_pixels(&self, pixels: &[u8], channels: Channels, values: &mut [f32]) {
        let Inner { color, layout, tables } = &*self.0;
        let order: [usize; 3] = match (color, channels) {
            (Color::Rgb, _) => [0, 1, 2],
            (Color::Bgr, _) => [2, 1, 0],
            (Color::Gray, Channels::Luma) => {
                for (value, luma) in values.iter_mut().zip(pixels) {
                    *value = tables[0][usize::from(*luma)];
                }
                return;
            }
            (Color::Gray, Channels::Rgb) => {
                for (value, pixel) in values.iter_mut().zip(pixels.as_chunks::<3>().0) {
                    *value = tables[0][usize::from(luma(*pixel))];
                }
                return;
            }
        };
        let pixels = pixels.as_chunks::<3>().0;
        match layout {
            Layout::Nchw => {
                let planes = values.chunks_exact_mut(pixels.len().max(1));
                for ((channel, table), values) in order.iter().zip(tables).zip(planes) {
                    for (value, pixel) in values.iter_mut().zip(pixels) {
                        *value = table[usize::from(pixel[*channel])];
                    }
                }
            }
            Layout::Nhwc => {
                for (values, pixel) in values.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                    for (value, (channel, table)) in values.iter_mut().zip(order.iter().zip(tables)) {
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

    fn filled(color: Color, layout: Layout, pixels: &[u8]) -> Vec<f32> {
        let spec = InputSpec { color, mean: vec![1.0], std: vec![2.0], ..InputSpec::default() };
        let row = Row { pixels: pixels.to_vec(), content: Content::Pixels(Channels::Rgb) };
        let mut values = vec![0.0; pixels.len()];
        Normaliser::new(&spec, layout).fill(&row, &mut values);
        values
    }

    #[test]
    fn channel_order_and_layout() {
        let rgb = [11, 21, 31, 13, 23, 33];
        assert_eq!(filled(Color::Rgb, Layout::Nchw, &rgb), [5.0, 6.0, 10.0, 11.0, 15.0, 16.0]);
        assert_eq!(filled(Color::Bgr, Layout::Nchw, &rgb), [15.0, 16.0, 10.0, 11.0, 5.0, 6.0]);
        assert_eq!(filled(Color::Rgb, Layout::Nhwc, &rgb), [5.0, 10.0, 15.0, 6.0, 11.0, 16.0]);
    }

    #[test]
    fn a_tensor_stays_what_it_is() {
        let row = Row { pixels: vec![9; 6], content: Content::Values(vec![0.25, -4.0]) };
        let mut values = [7.0; 2];
        Normaliser::new(&InputSpec::default(), Layout::Nchw).fill(&row, &mut values);
        assert_eq!(values, [0.25, -4.0]);
    }

    #[test]
    fn luminance_matches_pillow() {
        assert_eq!([luma([255, 0, 0]), luma([0, 255, 0]), luma([0, 0, 255]), luma([255; 3])], [76, 150, 29, 255]);
    }
}
