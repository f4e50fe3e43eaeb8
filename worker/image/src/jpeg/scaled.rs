//! Large photographs at an eighth, a quarter or half their size, straight from the file.
//!
//! Most of a large JPEG is detail that the model's input cannot show. A block of 8x8 pixels is stored
//! as frequencies; for a picture of an eighth the size its first one, the mean, is all there is to
//! compute, and the others are passed without a look (ITU-T T.81; the reduced inverse transforms are
//! those of the lowest frequencies). Baseline and extended Huffman files of one scan are read, grey
//! or YCbCr, as cameras and telephones write them; and at an eighth progressive ones, as many web sites have them
//! (`progressive.rs`). For anything else, and for anything that looks damaged, there is the full decoder, which says
//! what is wrong.

use image::metadata::Orientation;
use shoal_shared::sniff::ImageLimits;

use super::bits::Bits;
use super::blocks::Blocks;
use super::colour::{fill_grey, fill_rgb};
use super::frame::Frame;
use super::plane::{Groups, Plane, Source};
use super::progressive::Progressive;
use super::tables::TableCache;
use super::walk::{Order, Walk};
use crate::helpers::{Helpers, Team};
use crate::picture::{Channels, Extent, Part, Picture, Wanted};

/// Pixels that remain of the eight along a block's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    One = 1,
    Two = 2,
    Four = 4,
}

impl Remaining {
    /// The smallest picture that shows enough for a shorter side of `needed` pixels; `None` when only the full size will do.
    /// From means a third more than that is enough (`means.rs`): the input is half a level of 255 away from what all pixels
    /// give (`worker/image/tests/reduced.rs`). Half the size is hardly faster to read than the full one, so more is asked of it.
    pub(super) fn for_side(shorter: u32, needed: u32) -> Option<Self> {
        let enough = |remaining: Self| {
            let (pixels, needed) = (u64::from(shorter / 8 * remaining as u32), u64::from(needed));
            if remaining == Self::Four { pixels >= 2 * needed } else { 3 * pixels >= 4 * needed }
        };
        [Self::One, Self::Two, Self::Four].into_iter().find(|remaining| enough(*remaining))
    }
}

/// Bytes of a file that are worth a helper: about two milliseconds.
const WORTH_HELP: usize = 256 << 10;
/// Most who work on one picture: each has to add up what stands before its band.
const MOST_AT_WORK: usize = 4;

/// Decodes at a reduced size; buffers are used again.
#[derive(Default)]
pub(crate) struct Scaler {
    bits: Bits,
    walk: Walk,
    tables: TableCache,
    progressive: Progressive,
    /// Planes of each band of the picture.
    bands: Vec<[Plane; 3]>,
    spare: Vec<u8>,
}

impl Scaler {
    /// `None`: not this kind of file, or not intact, or not so large that a smaller picture would do.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        wanted: &Wanted<'_>,
        helpers: &Helpers,
    ) -> Option<Picture> {
        let mut frame = Frame::read(bytes)?;
        let (whole_width, whole_height) = (u32::try_from(frame.width).ok()?, u32::try_from(frame.height).ok()?);
        if whole_width.max(whole_height) > limits.max_side
            || u64::from(whole_width) * u64::from(whole_height) > limits.max_pixels
        {
            return None;
        }
        let remaining = Remaining::for_side(whole_width.min(whole_height), wanted.needed)?;
        let team = helpers.team((bytes.len() / WORTH_HELP).min(MOST_AT_WORK - 1));
        let count = if wanted.channels == Channels::Luma { 1 } else { frame.components.len() };
        let extent = Extent { whole: (whole_width, whole_height), reduction: 8 / remaining as u32 };
        if frame.is_progressive {
            if remaining != Remaining::One {
                return None;
            }
            let kept = self.progressive.read(bytes, &mut frame, count)?;
            let (frame, show) = (&frame, Show { frame: &frame, count, extent, remaining, wanted });
            return show.pixels(&team, &mut self.bands, &mut self.spare, |number, plane, seen| {
                let component = &frame.components[number];
                plane.show(&kept[number], component, frame.quantisers[component.quantiser].as_ref()?, seen)
            });
        }
        let groups = frame.mcus.0 * frame.mcus.1;
        let stretches = if frame.restart == 0 { 1 } else { groups.div_ceil(frame.restart) };
        self.bits.fill(bytes.get(frame.scan..)?, stretches)?;
        let (tables, pair_of) = self.tables.of(&frame)?;
        let pairs = tables.pairs();
        let blocks: Vec<usize> = (frame.components.iter().zip(pair_of))
            .flat_map(|(component, pair)| std::iter::repeat_n(pair, component.sampling.0 * component.sampling.1))
            .collect();
        let order = Order { pairs: &pairs, blocks: &blocks, steps: &tables.steps };
        let starts = self.walk.find(&self.bits, &order, (groups, frame.restart), &team)?;

        let mut sources = Vec::with_capacity(count);
        let mut before = 0;
        for (component, pair) in frame.components.iter().zip(pair_of).take(count) {
            let quantisers = frame.quantisers[component.quantiser].as_ref()?;
            let blocks = Blocks { bits: &self.bits, codes: pairs[pair], quantisers };
            sources.push(Source { frame: &frame, component, blocks, in_group: order.blocks.len(), before });
            before += component.sampling.0 * component.sampling.1;
        }
        let show = Show { frame: &frame, count, extent, remaining, wanted };
        show.pixels(&team, &mut self.bands, &mut self.spare, |number, plane, seen| {
            plane.read(&sources[number], seen, starts)
        })
    }

    /// Takes back the bytes of a picture, to be written over.
    pub(super) fn reuse(&mut self, bytes: Vec<u8>) {
        self.spare = bytes;
    }
}

/// What of a file is to be shown, and how.
struct Show<'a> {
    frame: &'a Frame<'a>,
    /// Components that are wanted.
    count: usize,
    extent: Extent,
    remaining: Remaining,
    wanted: &'a Wanted<'a>,
}

impl Show<'_> {
    /// The picture, from planes that `read` fills: by the number of the component, what of it is seen.
    fn pixels(
        &self,
        team: &Team<'_>,
        planes: &mut Vec<[Plane; 3]>,
        spare: &mut Vec<u8>,
        read: impl Fn(usize, &mut Plane, &Groups) -> Option<()> + Sync,
    ) -> Option<Picture> {
        let Self { frame, count, extent, remaining, wanted } = *self;
        let size = extent.size();
        let orientation = frame.exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
        let seen = Groups::around((wanted.part_of)(extent, orientation), frame, remaining as usize);
        let (part, channels) = (seen.part(size), wanted.channels);
        let bytes_of = |part: Part| part.width as usize * part.height as usize * channels as usize;
        let mut pixels = std::mem::take(spare);
        pixels.resize(bytes_of(part), 0);
        let mut rest = pixels.as_mut_slice();
        planes.resize_with(planes.len().max(team.size()), Default::default);
        let bands = seen.bands(team.size()).zip(planes).map(|(seen, planes)| {
            let part = seen.part(size);
            (Band { seen, planes, part }, rest.split_off_mut(..bytes_of(part)))
        });
        let bands: Vec<_> = bands.collect();
        team.share(bands, |(band, pixels)| band.fill(count, &read, channels, pixels?))?;
        Some(Picture { extent, part, channels, bytes: pixels, orientation })
    }
}

/// Some rows of a picture.
struct Band<'a> {
    seen: Groups,
    planes: &'a mut [Plane; 3],
    /// Where its pixels are.
    part: Part,
}

impl Band<'_> {
    /// Reads its components and puts them together.
    fn fill(
        self,
        count: usize,
        read: &impl Fn(usize, &mut Plane, &Groups) -> Option<()>,
        channels: Channels,
        pixels: &mut [u8],
    ) -> Option<()> {
        for (number, plane) in self.planes.iter_mut().enumerate().take(count) {
            read(number, plane, &self.seen)?;
        }
        let width = self.part.width as usize;
        for (row, to) in pixels.chunks_exact_mut(width * channels as usize).enumerate() {
            let [luma, blue, red] = self.planes.each_ref();
            match (channels, count) {
                (Channels::Luma, _) => to.copy_from_slice(luma.row(row, width)),
                (Channels::Rgb, 1) => fill_grey(to, luma.row(row, width)),
                (Channels::Rgb, _) => fill_rgb(to, luma.row(row, width), blue.row(row, width), red.row(row, width)),
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_the_smallest_with_a_margin() {
        assert_eq!(Remaining::for_side(3000, 256), Some(Remaining::One));
        assert_eq!(Remaining::for_side(2448, 256), Some(Remaining::Two));
        assert_eq!(Remaining::for_side(1200, 256), Some(Remaining::Four));
        assert_eq!(Remaining::for_side(1000, 256), None);
    }
}
