//! Large photographs at an eighth, a quarter or half their size, straight from the file.
//!
//! Most of a large JPEG is detail that the model's input cannot show. A block of 8x8 pixels is stored
//! as frequencies; for a picture of an eighth the size its first one, the mean, is all there is to
//! compute, and the others are skipped bit by bit (ITU-T T.81; the reduced inverse transforms are
//! those of the lowest frequencies). Baseline and extended Huffman files of one scan are read, grey
//! or YCbCr, as cameras and telephones write them. For anything else, and for anything that looks
//! damaged, there is the full decoder, which says what is wrong.

use super::frame::{Component, Frame};
use super::huffman::{Bits, Table};

/// A smaller picture.
pub(super) struct Scaled {
    pub(super) width: u32,
    pub(super) height: u32,
    /// `width * height * 3` bytes.
    pub(super) rgb: Vec<u8>,
}

/// Pixels that remain of the eight along a block's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    One = 1,
    Two = 2,
    Four = 4,
}

impl Remaining {
    /// The smallest picture whose shorter side is still twice as long as `needed`: then the resize
    /// that follows decides what is seen. `None` when only the full size will do.
    pub(super) fn for_side(shorter: u32, needed: u32) -> Option<Self> {
        let enough = |remaining: Self| shorter / 8 * remaining as u32 >= 2 * needed;
        [Self::One, Self::Two, Self::Four].into_iter().find(|remaining| enough(*remaining))
    }
}

/// Decodes at a reduced size. `None`: not this kind of file, or not intact.
pub(super) fn decode(bytes: &[u8], remaining: Remaining) -> Option<Scaled> {
    let frame = Frame::read(bytes)?;
    let planes = read_scan(&frame, bytes, remaining as usize)?;
    let side = |pixels: usize| (pixels * remaining as usize).div_ceil(8);
    Some(to_rgb(&frame, &planes, side(frame.width), side(frame.height)))
}

/// One component's pixels, as many as the picture has: one that was stored at half the width or
/// height is reduced half as much.
struct Plane {
    pixels: Vec<u8>,
    width: usize,
    transform: Transform,
}

impl Plane {
    fn new(frame: &Frame, component: &Component, remaining: usize) -> Self {
        let block = (
            remaining * frame.most.0 / component.sampling.0, //
            remaining * frame.most.1 / component.sampling.1,
        );
        let width = frame.mcus.0 * component.sampling.0 * block.0;
        let height = frame.mcus.1 * component.sampling.1 * block.1;
        Self { pixels: vec![0; width * height], width, transform: Transform::new(block) }
    }
}

fn read_scan(frame: &Frame, bytes: &[u8], remaining: usize) -> Option<Vec<Plane>> {
    let mut planes: Vec<Plane> =
        frame.components.iter().map(|component| Plane::new(frame, component, remaining)).collect();
    let mut bits = Bits::new(bytes, frame.scan);
    let mut means = [0i32; 3];
    let (across, down) = frame.mcus;
    for mcu in 0..across * down {
        if frame.restart > 0 && mcu > 0 && mcu % frame.restart == 0 {
            bits.restart()?;
            means = [0; 3];
        }
        let (column, row) = (mcu % across, mcu / across);
        for ((component, plane), mean) in frame.components.iter().zip(&mut planes).zip(&mut means) {
            for block in 0..component.sampling.0 * component.sampling.1 {
                let at = (
                    column * component.sampling.0 + block % component.sampling.0,
                    row * component.sampling.1 + block / component.sampling.0,
                );
                let decoder = BlockDecoder::new(frame, component)?;
                decoder.read(&mut bits, mean, plane, at)?;
            }
        }
    }
    // Bits that were not there read as zeros, which decode to something.
    (!bits.is_starved()).then_some(planes)
}

/// Where each coefficient of the file's zigzag order belongs: row * 8 + column.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];
/// Position in zigzag order of the last coefficient that a block of so many pixels a side needs.
fn last_needed(side: usize) -> usize {
    match side {
        1 => 0,
        2 => 4,
        4 => 24,
        _ => 63,
    }
}

/// The tables that one component is read with.
struct BlockDecoder<'a> {
    means: &'a Table,
    details: &'a Table,
    quantisers: &'a [u16; 64],
}

impl<'a> BlockDecoder<'a> {
    fn new(frame: &'a Frame, component: &Component) -> Option<Self> {
        Some(Self {
            means: frame.means[component.means].as_ref()?,
            details: frame.details[component.details].as_ref()?,
            quantisers: frame.quantisers[component.quantiser].as_ref()?,
        })
    }

    /// Reads a block into its place, given in blocks. `mean` is the one of the block before.
    fn read(&self, bits: &mut Bits<'_>, mean: &mut i32, plane: &mut Plane, at: (usize, usize)) -> Option<()> {
        *mean = mean.wrapping_add(self.means.read_difference(bits)?);
        let first = mean.wrapping_mul(i32::from(self.quantisers[0])) as f32;
        let (across, down) = plane.transform.block;
        let start = at.1 * down * plane.width + at.0 * across;
        if (across, down) == (1, 1) {
            self.details.skip(bits, 1)?;
            *plane.pixels.get_mut(start)? = to_byte(first / 8.0);
            return Some(());
        }
        let mut low = [0.0f32; 64];
        low[0] = first;
        self.read_low(bits, &mut low, plane.transform.block)?;
        let rows = plane.transform.apply(&low);
        for (y, row) in rows.chunks_exact(8).take(down).enumerate() {
            plane.pixels.get_mut(start + y * plane.width..)?.get_mut(..across)?.copy_from_slice(&row[..across]);
        }
        Some(())
    }

    /// Reads the lowest coefficients of a block into `low` (eight to a row), skips the others.
    fn read_low(&self, bits: &mut Bits<'_>, low: &mut [f32; 64], (across, down): (usize, usize)) -> Option<()> {
        let (last, mut position) = (last_needed(across.max(down)), 1);
        while position <= last {
            let (run, size) = self.details.read_detail(bits)?;
            match (run, size) {
                (0, 0) => return Some(()),
                (15, 0) => position += 16,
                (_, 0) => return None,
                _ => {
                    position += run;
                    let value = bits.read_signed(size);
                    let natural = usize::from(*ZIGZAG.get(position)?);
                    if natural / 8 < down && natural % 8 < across {
                        low[natural] = (value * i32::from(self.quantisers[position])) as f32;
                    }
                    position += 1;
                }
            }
        }
        self.details.skip(bits, position)
    }
}

/// The inverse transform of the lowest frequencies of a block: its picture at some eighths of its
/// width and height.
struct Transform {
    /// Pixels across and down.
    block: (usize, usize),
    across: [f32; 64],
    down: [f32; 64],
}

impl Transform {
    fn new(block: (usize, usize)) -> Self {
        Self { block, across: basis(block.0), down: basis(block.1) }
    }

    /// Rows of eight, of which the first values count.
    fn apply(&self, low: &[f32; 64]) -> [u8; 64] {
        // Sizes that the compiler knows become straight code.
        match self.block {
            (2, 2) => self.apply_to(low, (2, 2)),
            (4, 4) => self.apply_to(low, (4, 4)),
            (8, 8) => self.apply_to(low, (8, 8)),
            block => self.apply_to(low, block),
        }
    }

    #[inline(always)]
    fn apply_to(&self, low: &[f32; 64], (across, down): (usize, usize)) -> [u8; 64] {
        let mut rows = [0.0f32; 64];
        for v in 0..down {
            for u in 0..across {
                let coefficient = low[v * 8 + u];
                if coefficient != 0.0 {
                    (0..across).for_each(|x| rows[v * 8 + x] += coefficient * self.across[u * 8 + x]);
                }
            }
        }
        let mut pixels = [0; 64];
        for y in 0..down {
            let mut line = [0.0f32; 8];
            for v in 0..down {
                let weight = self.down[v * 8 + y];
                (0..across).for_each(|x| line[x] += rows[v * 8 + x] * weight);
            }
            (0..across).for_each(|x| pixels[y * 8 + x] = to_byte(line[x]));
        }
        pixels
    }
}

/// `a(u) cos((2x + 1) u π / 2 side) sqrt(side / 8)` by `u * 8 + x`, orthonormal `a`: what makes the
/// lowest frequencies of eight pixels a signal of `side`.
fn basis(side: usize) -> [f32; 64] {
    std::array::from_fn(|at| {
        let (u, x) = (at / 8, at % 8);
        if u >= side || x >= side {
            return 0.0;
        }
        let a = if u == 0 { 1.0 / side as f64 } else { 2.0 / side as f64 }.sqrt();
        let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / (2 * side) as f64;
        (a * angle.cos() * (side as f64 / 8.0).sqrt()) as f32
    })
}

fn to_byte(value: f32) -> u8 {
    (value + 128.5).clamp(0.0, 255.0) as u8
}

fn to_rgb(frame: &Frame, planes: &[Plane], width: usize, height: usize) -> Scaled {
    let mut rgb = Vec::with_capacity(width * height * 3);
    let mut lines: [&[u8]; 3] = [&[]; 3];
    for y in 0..height {
        for (line, plane) in lines.iter_mut().zip(planes) {
            *line = &plane.pixels[y * plane.width..][..width];
        }
        if frame.components.len() == 1 {
            rgb.extend(lines[0].iter().flat_map(|&luma| [luma; 3]));
        } else {
            let [luma, blue, red] = lines;
            rgb.extend(luma.iter().zip(blue).zip(red).flat_map(|((&y, &cb), &cr)| pixel(y, cb, cr)));
        }
    }
    Scaled { width: width as u32, height: height as u32, rgb }
}

/// JFIF's conversion, in sixteen bits of fraction.
fn pixel(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = ((i32::from(y) << 16) + 0x8000, i32::from(cb) - 128, i32::from(cr) - 128);
    let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
    [byte(y + 91_881 * cr), byte(y - 22_554 * cb - 46_802 * cr), byte(y + 116_130 * cb)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_block_keeps_its_value_at_every_size() {
        let mut low = [0.0; 64];
        // The mean of 64 pixels of 50 above the middle, as the transform stores it.
        low[0] = 8.0 * 50.0;
        for block in [(1, 1), (2, 2), (2, 1), (4, 8), (8, 8)] {
            let pixels = Transform::new(block).apply(&low);
            let mut inside = (0..64).filter(|at| at / 8 < block.1 && at % 8 < block.0);
            assert!(inside.all(|at| pixels[at] == 178), "{block:?}: {pixels:?}");
        }
    }

    #[test]
    fn the_size_is_the_smallest_with_a_margin() {
        assert_eq!(Remaining::for_side(4100, 256), Some(Remaining::One));
        assert_eq!(Remaining::for_side(3000, 256), Some(Remaining::Two));
        assert_eq!(Remaining::for_side(1536, 256), Some(Remaining::Four));
        assert_eq!(Remaining::for_side(700, 256), None);
    }
}
