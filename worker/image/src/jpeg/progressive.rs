//! Progressive files at an eighth of their size.
//!
//! Such a file goes over its blocks many times, and each scan adds to what is known of them. For a picture of an eighth
//! only those are read that say something of the means, or of the lowest frequencies of colours that are stored at half
//! the width or height; the others, most of the file, are passed without a look (ITU-T T.81, annex G).

use std::ops::Range;

use super::bits::{Bits, behind_scan};
use super::codes::{Codes, signed};
use super::frame::{Frame, Stop};

/// Most scans of a file: each may go over all blocks once more.
const MOST_SCANS: usize = 64;
/// Positions in the file's order of the coefficients that are kept: the mean, and the lowest frequencies across, down
/// and both.
pub(super) const KEPT: [usize; 4] = [0, 1, 2, 4];

/// What is kept of a component.
#[derive(Default)]
pub(super) struct Kept {
    /// Blocks in a row, with those that fill the last group.
    pub(super) across: usize,
    /// Coefficients of each block, those of [`KEPT`].
    pub(super) blocks: Vec<[i16; 4]>,
    /// Which coefficients of each block are not 0, a bit for each position. None at all when nothing but means is wanted.
    others: Vec<u64>,
    has_means: bool,
}

/// Reads progressive files; buffers are used again.
#[derive(Default)]
pub(super) struct Progressive {
    bits: Bits,
    kept: [Kept; 3],
}

impl Progressive {
    /// Reads what the first `wanted` components take. `None` when the file is not intact, or of a rarer kind.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8], frame: &mut Frame<'a>, wanted: usize) -> Option<&[Kept; 3]> {
        for (at, kept) in self.kept.iter_mut().enumerate().take(frame.components.len()) {
            kept.begin(frame, at, at < wanted);
        }
        let mut stop = Stop::Scan { head: frame.head, at: frame.scan };
        for _ in 0..MOST_SCANS {
            let Stop::Scan { head, at } = stop else {
                let mut means = self.kept.iter().take(wanted).map(|kept| kept.has_means);
                return means.all(|has_means| has_means).then_some(&self.kept);
            };
            let data = bytes.get(at..)?;
            Scan::parse(head, frame)?.read(data, frame, &mut self.bits, &mut self.kept)?;
            stop = frame.read_segments(bytes, at + behind_scan(data))?;
        }
        None
    }
}

impl Kept {
    fn begin(&mut self, frame: &Frame<'_>, component: usize, is_wanted: bool) {
        let sampling = frame.components[component].sampling;
        self.across = frame.mcus.0 * sampling.0;
        let blocks = self.across * frame.mcus.1 * sampling.1;
        self.blocks.clear();
        self.blocks.resize(blocks, [0; 4]);
        self.others.clear();
        if is_wanted && sampling != frame.most {
            self.others.resize(blocks, 0);
        }
        self.has_means = false;
    }
}

/// What a scan tells of which components.
struct Scan {
    parts: Vec<Part>,
    /// Positions of the first and the last coefficient.
    from: usize,
    to: usize,
    /// Whether it adds a bit to what earlier ones have said.
    refines: bool,
    /// Bits that later ones will add.
    shift: u32,
}

/// A component in a scan.
struct Part {
    component: usize,
    means: usize,
    details: usize,
}

impl Scan {
    fn parse(head: &[u8], frame: &Frame<'_>) -> Option<Self> {
        let (&count, rest) = head.split_first()?;
        let (selectors, &[from, to, bits]) = rest.split_at_checked(2 * usize::from(count))? else { return None };
        let part = |&[id, tables]: &[u8; 2]| {
            let component = frame.components.iter().position(|component| component.id == id)?;
            Some(Part { component, means: usize::from(tables >> 4), details: usize::from(tables & 15) })
        };
        let parts: Vec<Part> = selectors.as_chunks().0.iter().map(part).collect::<Option<_>>()?;
        let (from, to) = (usize::from(from), usize::from(to));
        let is_allowed =
            if from == 0 { to == 0 && (1..=3).contains(&count) } else { from <= to && to < 64 && count == 1 };
        let (before, shift) = (bits >> 4, u32::from(bits & 15));
        (is_allowed && shift < 14).then_some(Self { parts, from, to, refines: before > 0, shift })
    }

    fn read(&self, data: &[u8], frame: &Frame<'_>, bits: &mut Bits, kept: &mut [Kept; 3]) -> Option<()> {
        let first = self.parts.first()?;
        if self.from > 0 && kept[first.component].others.is_empty() {
            return Some(());
        }
        let ((across, down), in_stretch) = self.units(frame);
        bits.fill(data, (across * down).div_ceil(in_stretch))?;
        match (self.from, self.refines) {
            (0, false) => {
                let codes: Vec<Codes> = (self.parts.iter())
                    .map(|part| Codes::new((*frame.means.get(part.means)?)?))
                    .collect::<Option<_>>()?;
                self.parts.iter().for_each(|part| kept[part.component].has_means = true);
                self.each_block(frame, bits, kept, |reader, part, kept, block| {
                    let size = Some(u32::from(reader.symbol(&codes[part])?)).filter(|size| *size <= 15)?;
                    let mean = reader.means.get_mut(part)?;
                    *mean = mean.wrapping_add(signed(reader.bits.window(reader.at), size));
                    kept.blocks.get_mut(block)?[0] = (*mean << self.shift) as i16;
                    reader.at += size;
                    Some(())
                })
            }
            (0, true) => self.each_block(frame, bits, kept, |reader, _, kept, block| {
                kept.blocks.get_mut(block)?[0] |= (reader.take(1) as i16) << self.shift;
                Some(())
            }),
            (_, refines) => {
                let codes = Codes::new((*frame.details.get(first.details)?)?)?;
                self.each_block(frame, bits, kept, |reader, _, kept, block| {
                    let block = Block { low: kept.blocks.get_mut(block)?, others: kept.others.get_mut(block)? };
                    if refines { self.refine(reader, &codes, block) } else { self.begin(reader, &codes, block) }
                })
            }
        }
    }

    /// Units across and down, and how many stand between restart markers: groups of blocks, or those of one component.
    fn units(&self, frame: &Frame<'_>) -> ((usize, usize), usize) {
        let (across, down) = match self.parts.as_slice() {
            [alone] => {
                let sampling = frame.components[alone.component].sampling;
                let blocks = |side: usize, sampling: usize, most: usize| (side * sampling).div_ceil(most).div_ceil(8);
                let across = blocks(frame.width, sampling.0, frame.most.0);
                (across, blocks(frame.height, sampling.1, frame.most.1))
            }
            _ => frame.mcus,
        };
        let all = across * down;
        ((across, down), if frame.restart == 0 { all } else { frame.restart.min(all) })
    }

    /// Goes over all blocks in the scan's order. `visit` gets the number of the part, what is kept of its component, and
    /// the block.
    fn each_block(
        &self,
        frame: &Frame<'_>,
        bits: &Bits,
        kept: &mut [Kept; 3],
        mut visit: impl FnMut(&mut Reader<'_>, usize, &mut Kept, usize) -> Option<()>,
    ) -> Option<()> {
        let ((across, down), in_stretch) = self.units(frame);
        let mut unit = 0;
        for (begin, end) in bits.stretches() {
            let mut reader = Reader { bits, at: begin, means: [0; 3], ended: 0 };
            for unit in unit..(across * down).min(unit + in_stretch) {
                let (row, column) = (unit / across, unit % across);
                if let [alone] = self.parts.as_slice() {
                    let kept = &mut kept[alone.component];
                    let block = row * kept.across + column;
                    visit(&mut reader, 0, kept, block)?;
                    continue;
                }
                for (number, part) in self.parts.iter().enumerate() {
                    let (sampling, kept) = (frame.components[part.component].sampling, &mut kept[part.component]);
                    for v in 0..sampling.1 {
                        let first = (row * sampling.1 + v) * kept.across + column * sampling.0;
                        for h in 0..sampling.0 {
                            visit(&mut reader, number, kept, first + h)?;
                        }
                    }
                }
            }
            unit += in_stretch;
            if reader.at > end {
                return None;
            }
        }
        (unit >= across * down).then_some(())
    }

    /// The first that is said of these coefficients of a block.
    fn begin(&self, reader: &mut Reader<'_>, codes: &Codes, mut block: Block<'_>) -> Option<()> {
        if reader.ended > 0 {
            reader.ended -= 1;
            return Some(());
        }
        let mut position = self.from;
        while position <= self.to {
            let symbol = reader.symbol(codes)?;
            match (u32::from(symbol >> 4), u32::from(symbol & 15)) {
                (15, 0) => position += 16,
                (run, 0) => {
                    reader.ended = (1 << run) - 1 + reader.take(run);
                    break;
                }
                (run, size) => {
                    position += run as usize;
                    let value = signed(reader.bits.window(reader.at), size);
                    reader.at += size;
                    block.set(position, (value << self.shift) as i16)?;
                    position += 1;
                }
            }
        }
        Some(())
    }

    /// One bit more of those that are not 0 yet, and some that are no longer.
    fn refine(&self, reader: &mut Reader<'_>, codes: &Codes, mut block: Block<'_>) -> Option<()> {
        let mut position = self.from;
        while reader.ended == 0 && position <= self.to {
            let symbol = reader.symbol(codes)?;
            let (zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            let mut value = 0;
            match size {
                0 if zeros < 15 => {
                    reader.ended = (1 << zeros) + reader.take(zeros);
                    break;
                }
                0 => {}
                1 => value = if reader.take(1) == 1 { 1i16 << self.shift } else { -(1i16 << self.shift) },
                _ => return None,
            }
            let end = block.behind_zeros(position, zeros).min(self.to + 1);
            block.add(position..end, reader, self.shift);
            position = end;
            if value != 0 {
                block.set(position, value)?;
            }
            position += 1;
        }
        if reader.ended > 0 {
            reader.ended -= 1;
            block.add(position..self.to + 1, reader, self.shift);
        }
        Some(())
    }
}

/// The bits of a scan, and what goes on from one block to the next.
struct Reader<'a> {
    bits: &'a Bits,
    at: u32,
    /// Of each part's latest block.
    means: [i32; 3],
    /// Blocks to come that say nothing more.
    ended: u32,
}

impl Reader<'_> {
    #[inline(always)]
    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        let (symbol, length) = codes.find(self.bits.window(self.at))?;
        self.at += length;
        Some(symbol)
    }

    /// The next bits, at most 16.
    #[inline(always)]
    fn take(&mut self, count: u32) -> u32 {
        let bits = (self.bits.window(self.at) >> 1 >> (63 - count)) as u32;
        self.at += count;
        bits
    }
}

/// A block of which more than the mean is wanted.
struct Block<'a> {
    low: &'a mut [i16; 4],
    others: &'a mut u64,
}

impl Block<'_> {
    fn set(&mut self, position: usize, value: i16) -> Option<()> {
        if position >= 64 {
            return None;
        }
        *self.others |= 1 << position;
        if let Some(kept) = KEPT.iter().position(|kept| *kept == position) {
            self.low[kept] = value;
        }
        Some(())
    }

    /// The position behind so many coefficients that are still 0, from a position on.
    fn behind_zeros(&self, position: usize, count: u32) -> usize {
        let mut zeros = !*self.others & !below(position);
        for _ in 0..count {
            zeros &= zeros.wrapping_sub(1);
        }
        zeros.trailing_zeros() as usize
    }

    /// Reads a further bit of each that is not 0, in a range; it leads away from 0.
    fn add(&mut self, range: Range<usize>, reader: &mut Reader<'_>, shift: u32) {
        let others = *self.others & !below(range.start) & below(range.end);
        if others == 0 {
            return;
        }
        for (kept, low) in KEPT.into_iter().zip(self.low.iter_mut()).filter(|(kept, _)| range.contains(kept)) {
            if others >> kept & 1 == 1 {
                let before = (others & below(kept)).count_ones();
                let bit = reader.bits.window(reader.at + before) >> 63;
                *low = low.wrapping_add(low.signum() * ((bit as i16) << shift));
            }
        }
        reader.at += others.count_ones();
    }
}

/// Bits for all positions before one.
fn below(position: usize) -> u64 {
    1u64.checked_shl(position as u32).map_or(u64::MAX, |bit| bit - 1)
}
