//! The whole way of one image to its row of the input tensor.

use shoal_shared::failure::Failure;
use shoal_shared::manifest::{Color, InputSpec, Layout};
use shoal_shared::npy::is_npy;
use shoal_shared::sniff::ImageLimits;

use super::decode::Decoder;
use super::helpers::Helpers;
use super::npy;
use super::picture::{Channels, Wanted};
use super::resize::{Shrinker, Target};
use super::row::{Content, Normaliser, Row};

/// Turns encoded images into input rows; one for each decode thread, buffers reused.
pub struct Preprocessor {
    decoder: Decoder,
    shrinker: Shrinker,
    limits: ImageLimits,
    target: Target,
    normaliser: Normaliser,
    /// For whoever wants values at once.
    row: Row,
}

impl Preprocessor {
    /// For inputs of `target` (width, height), processed as `spec` says.
    pub fn new(spec: &InputSpec, layout: Layout, target: (u32, u32), limits: ImageLimits) -> Self {
        Self {
            decoder: Decoder::default(),
            shrinker: Shrinker::default(),
            limits,
            target: Target {
                mode: spec.resize,
                shorter_side: spec.shorter_side.unwrap_or(target.0.max(target.1)),
                size: target,
            },
            normaliser: Normaliser::new(spec, layout),
            row: Row::default(),
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
        self.target.size.0 as usize * self.target.size.1 as usize * self.normaliser.color().channels()
    }

    fn shape(&self) -> [usize; 3] {
        let (width, height, channels) =
            (self.target.size.0 as usize, self.target.size.1 as usize, self.normaliser.color().channels());
        match self.normaliser.layout() {
            Layout::Nchw => [channels, height, width],
            Layout::Nhwc => [height, width, channels],
        }
    }

    /// Decodes and resizes into a row; a tensor is taken as it is.
    pub fn read(&mut self, bytes: &[u8], row: &mut Row) -> Result<(), Failure> {
        if is_npy(bytes) {
            let mut values = vec![0.0; self.row_len()];
            npy::fill(bytes, &self.limits, &self.shape(), &mut values)?;
            row.content = Content::Values(values);
            return Ok(());
        }
        let wanted = Wanted {
            needed: self.target.needed(),
            channels: if self.normaliser.color() == Color::Gray { Channels::Luma } else { Channels::Rgb },
            part_of: &|extent, orientation| self.target.part_of(extent, orientation),
        };
        let picture = self.decoder.decode(bytes, &self.limits, Some(&wanted))?;
        self.shrinker.shrink(&picture, &self.target, &mut row.pixels)?;
        row.content = Content::Pixels(picture.channels);
        self.decoder.reuse(picture.bytes);
        Ok(())
    }

    /// Decodes, resizes, normalises. `values` must hold [`Preprocessor::row_len`] values.
    pub fn prepare(&mut self, bytes: &[u8], values: &mut [f32]) -> Result<(), Failure> {
        let mut row = std::mem::take(&mut self.row);
        let read = self.read(bytes, &mut row);
        if read.is_ok() {
            self.normaliser.fill(&row, values);
        }
        self.row = row;
        read
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
