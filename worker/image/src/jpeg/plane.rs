//! One component of a reduced picture.

use std::ops::Range;

use fearless_simd::{Level, dispatch};

use super::blocks::{Blocks, Low};
use super::frame::{Component, Frame};
use super::progressive::{KEPT, Kept};
use super::transform::{mean_of, picture};
use crate::picture::Part;

/// Groups of blocks that are looked at, of a picture's columns and rows of groups.
#[derive(Clone)]
pub(super) struct Groups {
    columns: Range<usize>,
    rows: Range<usize>,
    /// Pixels of a group, across and down.
    pixels: (usize, usize),
}

impl Groups {
    /// Those that a part of the reduced picture touches.
    pub(super) fn around(part: Part, frame: &Frame<'_>, remaining: usize) -> Self {
        let pixels = (remaining * frame.most.0, remaining * frame.most.1);
        let touched = |from: u32, length: u32, group: usize, groups: usize| {
            let from = (from as usize / group).min(groups.saturating_sub(1));
            from..((from * group).max(from) + length as usize).div_ceil(group).clamp(from + 1, groups)
        };
        let columns = touched(part.left, part.width, pixels.0, frame.mcus.0);
        let rows = touched(part.top, part.height, pixels.1, frame.mcus.1);
        Self { columns, rows, pixels }
    }

    /// The same columns, and of the rows one of `count` parts of about the same height; fewer than `count` when there are
    /// not as many rows.
    pub(super) fn bands(&self, count: usize) -> impl Iterator<Item = Self> + '_ {
        let Range { start, end } = self.rows;
        let height = (end - start).div_ceil(count.max(1)).max(1);
        (start..end).step_by(height).map(move |from| Self { rows: from..end.min(from + height), ..self.clone() })
    }

    /// Their pixels, in a picture of a size.
    pub(super) fn part(&self, size: (u32, u32)) -> Part {
        let (left, top) = (self.columns.start * self.pixels.0, self.rows.start * self.pixels.1);
        let (right, bottom) = (self.columns.end * self.pixels.0, self.rows.end * self.pixels.1);
        let (left, top) = (left as u32, top as u32);
        Part { left, top, width: size.0.min(right as u32) - left, height: size.1.min(bottom as u32) - top }
    }
}

/// The pixels of one component, as many as the picture has: one that was stored at half the width or
/// height is reduced half as much.
#[derive(Default)]
pub(super) struct Plane {
    pixels: Vec<u8>,
    width: usize,
}

impl Plane {
    /// Reads the component from a scan whose blocks begin at `starts`, those of a group one behind the other. `None` when
    /// its blocks would have to become larger than they are stored, or when the scan is not intact.
    pub(super) fn read(&mut self, source: &Source<'_>, groups: &Groups, starts: &[u32]) -> Option<()> {
        let sampling = source.component.sampling;
        self.width = groups.columns.len() * groups.pixels.0;
        self.pixels.resize(self.width * groups.rows.len() * groups.pixels.1, 0);
        let read = match (groups.pixels.0 / sampling.0, groups.pixels.1 / sampling.1) {
            (1, 1) => Self::read_blocks::<1, 1>,
            (2, 2) => Self::read_blocks::<2, 2>,
            (4, 4) => Self::read_blocks::<4, 4>,
            (8, 8) => Self::read_blocks::<8, 8>,
            (2, 1) => Self::read_blocks::<2, 1>,
            (4, 2) => Self::read_blocks::<4, 2>,
            (8, 4) => Self::read_blocks::<8, 4>,
            (1, 2) => Self::read_blocks::<1, 2>,
            (2, 4) => Self::read_blocks::<2, 4>,
            (4, 8) => Self::read_blocks::<4, 8>,
            (4, 1) => Self::read_blocks::<4, 1>,
            (8, 2) => Self::read_blocks::<8, 2>,
            (1, 4) => Self::read_blocks::<1, 4>,
            (2, 8) => Self::read_blocks::<2, 8>,
            _ => return None,
        };
        read(self, source, groups, starts)
    }

    /// With what this processor can do: shifts by any number of bits in one instruction, vectors.
    /// Shows a component of a progressive file at an eighth of the size: a pixel for each block of it, or two by two, where
    /// it was stored at half the width or height. `None` when it was stored at less.
    pub(super) fn show(
        &mut self,
        kept: &Kept,
        component: &Component,
        quantisers: &[u16; 64],
        groups: &Groups,
    ) -> Option<()> {
        let sampling = component.sampling;
        let (across, down) = (groups.pixels.0 / sampling.0, groups.pixels.1 / sampling.1);
        self.width = groups.columns.len() * groups.pixels.0;
        self.pixels.resize(self.width * groups.rows.len() * groups.pixels.1, 0);
        let rows = groups.rows.start * sampling.1..groups.rows.end * sampling.1;
        let columns = groups.columns.start * sampling.0..groups.columns.end * sampling.0;
        for (blocks, lines) in rows.zip(self.pixels.chunks_exact_mut(self.width * down)) {
            let blocks = kept.blocks.get(blocks * kept.across..)?.get(columns.clone())?;
            for (number, block) in blocks.iter().enumerate() {
                let coefficient = |kept: usize| i32::from(block[kept]) * i32::from(quantisers[KEPT[kept]]);
                if (across, down) == (1, 1) {
                    lines[number] = mean_of(coefficient(0));
                    continue;
                }
                let mut low: Low = [0.0; 65];
                for (kept, place) in [0, 1, 8, 9].into_iter().enumerate() {
                    low[place] = coefficient(kept) as f32;
                }
                let mut put = |line: usize, row: &[u8]| {
                    lines[line * self.width + number * across..][..across].copy_from_slice(row);
                };
                match (across, down) {
                    (2, 2) => (0..).zip(picture::<2, 2>(&low)).for_each(|(line, row)| put(line, &row)),
                    (2, 1) => (0..).zip(picture::<2, 1>(&low)).for_each(|(line, row)| put(line, &row)),
                    (1, 2) => (0..).zip(picture::<1, 2>(&low)).for_each(|(line, row)| put(line, &row)),
                    _ => return None,
                }
            }
        }
        Some(())
    }

    fn read_blocks<const ACROSS: usize, const DOWN: usize>(
        &mut self,
        source: &Source<'_>,
        groups: &Groups,
        starts: &[u32],
    ) -> Option<()> {
        dispatch!(Level::new(), _ => self.read_blocks_here::<ACROSS, DOWN>(source, groups, starts))
    }

    #[inline(always)]
    fn read_blocks_here<const ACROSS: usize, const DOWN: usize>(
        &mut self,
        source: &Source<'_>,
        groups: &Groups,
        starts: &[u32],
    ) -> Option<()> {
        let Source { frame, blocks, component, .. } = source;
        let own = component.sampling.0 * component.sampling.1;
        let (mut mean, mut before_restart) = (0i32, frame.restart);
        let rows = starts.chunks_exact(frame.mcus.0 * source.in_group).take(groups.rows.end);
        for (row, starts) in rows.enumerate() {
            let is_row_seen = groups.rows.contains(&row);
            for (column, starts) in starts.chunks_exact(source.in_group).enumerate() {
                if frame.restart > 0 {
                    if before_restart == 0 {
                        (mean, before_restart) = (0, frame.restart);
                    }
                    before_restart -= 1;
                }
                let starts = starts.get(source.before..source.before + own)?;
                if !is_row_seen || !groups.columns.contains(&column) {
                    for &start in starts {
                        mean = mean.wrapping_add(blocks.difference(start)?.0);
                    }
                    continue;
                }
                let corner = (row - groups.rows.start) * groups.pixels.1 * self.width
                    + (column - groups.columns.start) * groups.pixels.0;
                for (v, starts) in starts.chunks_exact(component.sampling.0).enumerate() {
                    for (h, &start) in starts.iter().enumerate() {
                        let (difference, behind) = blocks.difference(start)?;
                        mean = mean.wrapping_add(difference);
                        let first = mean.wrapping_mul(i32::from(blocks.quantisers[0]));
                        let at = corner + v * DOWN * self.width + h * ACROSS;
                        if ACROSS == 1 && DOWN == 1 {
                            *self.pixels.get_mut(at)? = mean_of(first);
                            continue;
                        }
                        let mut low: Low = [0.0; 65];
                        low[0] = first as f32;
                        blocks.read_low::<ACROSS, DOWN>(behind, &mut low)?;
                        let rows = picture::<ACROSS, DOWN>(&low);
                        for (y, row) in rows.iter().enumerate() {
                            self.pixels.get_mut(at + y * self.width..)?.get_mut(..ACROSS)?.copy_from_slice(row);
                        }
                    }
                }
            }
        }
        Some(())
    }

    /// The first `width` pixels of a row.
    pub(super) fn row(&self, row: usize, width: usize) -> &[u8] {
        &self.pixels[row * self.width..][..width]
    }
}

/// What a component is read from.
pub(super) struct Source<'a> {
    pub(super) frame: &'a Frame<'a>,
    pub(super) component: &'a Component,
    pub(super) blocks: Blocks<'a>,
    /// Blocks in a group, and those that stand before this component's.
    pub(super) in_group: usize,
    pub(super) before: usize,
}
