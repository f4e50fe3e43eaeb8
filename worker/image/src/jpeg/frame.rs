//! What stands in front of a JPEG's scans: size, components, tables.

/// A picture, as far as its head tells.
pub(super) struct Frame<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One for grey, three for YCbCr.
    pub(super) components: Vec<Component>,
    /// Largest sampling factors, across and down.
    pub(super) most: (usize, usize),
    /// Groups of blocks, across and down.
    pub(super) mcus: (usize, usize),
    pub(super) quantisers: [Option<[u16; 64]>; 4],
    /// Code tables of the means (DC), as they stand in the file.
    pub(super) means: [Option<&'a [u8]>; 4],
    /// Code tables of the details (AC).
    pub(super) details: [Option<&'a [u8]>; 4],
    /// Groups between restart markers; 0: there are none.
    pub(super) restart: usize,
    /// Whether the blocks are gone over many times.
    pub(super) is_progressive: bool,
    /// The head of the first scan, and where its bits begin.
    pub(super) head: &'a [u8],
    pub(super) scan: usize,
    /// What the camera wrote about the picture, in Exif's form.
    pub(super) exif: Option<&'a [u8]>,
}

/// One component.
pub(super) struct Component {
    pub(super) id: u8,
    /// Blocks in a group, across and down.
    pub(super) sampling: (usize, usize),
    pub(super) quantiser: usize,
    pub(super) means: usize,
    pub(super) details: usize,
}

/// What segments end with.
pub(super) enum Stop<'a> {
    /// A scan: its head, and where its bits begin.
    Scan { head: &'a [u8], at: usize },
    /// The file's end.
    End,
}

const START_OF_FRAME: [u8; 2] = [0xc0, 0xc1];
const START_OF_PROGRESSIVE: u8 = 0xc2;
const OTHER_FRAMES: std::ops::RangeInclusive<u8> = 0xc3..=0xcf;
const END: u8 = 0xd9;
const HUFFMAN: u8 = 0xc4;
const ADOBE: u8 = 0xee;
const EXIF: u8 = 0xe1;

impl<'a> Frame<'a> {
    /// Reads up to the scan. `None` for everything that is not plain.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut frame = Self {
            width: 0,
            height: 0,
            components: Vec::new(),
            most: (1, 1),
            mcus: (0, 0),
            quantisers: [None; 4],
            means: [None; 4],
            details: [None; 4],
            restart: 0,
            is_progressive: false,
            head: &[],
            scan: 0,
            exif: None,
        };
        let Stop::Scan { head, at } = frame.read_segments(bytes, 2)? else { return None };
        (frame.head, frame.scan) = (head, at);
        if !frame.is_progressive {
            frame.read_scan(head)?;
        }
        (!frame.components.is_empty()).then_some(frame)
    }

    /// Reads the segments from `at` to the next scan, or to the end.
    pub(super) fn read_segments(&mut self, bytes: &'a [u8], mut at: usize) -> Option<Stop<'a>> {
        loop {
            let &[prefix, marker] = bytes.get(at..)?.first_chunk()?;
            if prefix != 0xff {
                return None;
            }
            if marker == 0xff {
                at += 1;
                continue;
            }
            if marker == END {
                return Some(Stop::End);
            }
            let &[high, low] = bytes.get(at + 2..)?.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let segment = bytes.get(at + 4..at + 2 + length)?;
            at += 2 + length;
            match marker {
                _ if START_OF_FRAME.contains(&marker) => self.read_frame(segment)?,
                START_OF_PROGRESSIVE => {
                    self.is_progressive = true;
                    self.read_frame(segment)?;
                }
                HUFFMAN => self.read_tables(segment)?,
                _ if OTHER_FRAMES.contains(&marker) => return None,
                0xdb => self.read_quantisers(segment)?,
                0xdd => self.restart = usize::from(u16::from_be_bytes(*segment.first_chunk()?)),
                // Adobe's files with a transform other than 1 hold other colours.
                ADOBE if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) => return None,
                EXIF => self.exif = segment.strip_prefix(b"Exif\0\0").or(self.exif),
                0xda => return Some(Stop::Scan { head: segment, at }),
                _ => {}
            }
        }
    }

    fn read_frame(&mut self, segment: &[u8]) -> Option<()> {
        let (&[precision, h1, h0, w1, w0, count], rest) = segment.split_first_chunk()?;
        if precision != 8 || !self.components.is_empty() || !matches!(count, 1 | 3) {
            return None;
        }
        self.height = usize::from(u16::from_be_bytes([h1, h0]));
        self.width = usize::from(u16::from_be_bytes([w1, w0]));
        for &[id, sampling, quantiser] in rest.as_chunks::<3>().0.iter().take(usize::from(count)) {
            let sampling = (usize::from(sampling >> 4), usize::from(sampling & 15));
            let quantiser = usize::from(quantiser);
            if ![1, 2, 4].contains(&sampling.0) || ![1, 2, 4].contains(&sampling.1) || quantiser > 3 {
                return None;
            }
            // One component alone is stored block by block, whatever it says.
            let sampling = if count == 1 { (1, 1) } else { sampling };
            self.components.push(Component { id, sampling, quantiser, means: 0, details: 0 });
        }
        let ids: Vec<u8> = self.components.iter().map(|component| component.id).collect();
        if self.components.len() != usize::from(count) || ids == *b"RGB" || self.width == 0 || self.height == 0 {
            return None;
        }
        let most = |factor: fn(&Component) -> usize| self.components.iter().map(factor).max();
        self.most = (most(|component| component.sampling.0)?, most(|component| component.sampling.1)?);
        self.mcus = (self.width.div_ceil(8 * self.most.0), self.height.div_ceil(8 * self.most.1));
        Some(())
    }

    fn read_quantisers(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let (wide, table) = (head >> 4 != 0, usize::from(head & 15));
            let bytes = if wide { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(bytes)?;
            let mut quantisers = [0; 64];
            for (position, quantiser) in quantisers.iter_mut().enumerate() {
                *quantiser = match wide {
                    true => u16::from_be_bytes([values[2 * position], values[2 * position + 1]]),
                    false => u16::from(values[position]),
                };
            }
            *self.quantisers.get_mut(table)? = Some(quantisers);
            segment = rest;
        }
        Some(())
    }

    fn read_tables(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let counts = rest.first_chunk::<16>()?;
            let symbols: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let (definition, rest) = segment[1..].split_at_checked(16 + symbols)?;
            let tables = if head >> 4 == 0 { &mut self.means } else { &mut self.details };
            *tables.get_mut(usize::from(head & 15))? = Some(definition);
            segment = rest;
        }
        Some(())
    }

    /// Every component must be in this scan, from the first to the last coefficient.
    fn read_scan(&mut self, segment: &[u8]) -> Option<()> {
        let (&count, rest) = segment.split_first()?;
        if self.components.is_empty() || usize::from(count) != self.components.len() {
            return None;
        }
        let (selectors, rest) = rest.as_chunks::<2>().0.split_at_checked(usize::from(count))?;
        for (component, &[id, tables]) in self.components.iter_mut().zip(selectors) {
            if component.id != id || tables >> 4 > 3 || tables & 15 > 3 {
                return None;
            }
            (component.means, component.details) = (usize::from(tables >> 4), usize::from(tables & 15));
        }
        let _ = rest;
        (segment.get(segment.len().checked_sub(3)?..)? == [0, 63, 0]).then_some(())
    }
}
