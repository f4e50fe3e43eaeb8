//! The bits of a scan, without what the file format puts between them.

use memchr::memchr;

/// Zeros behind the last bit, so that a window never ends in the middle of the data.
const PADDING: [u8; 8] = [0; 8];

/// Where the next marker is that does not belong to the scan at the beginning of `bytes`; their end when there is none.
pub(super) fn behind_scan(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = memchr(0xff, &bytes[at..]) {
        at += next;
        match bytes.get(at + 1) {
            Some(0 | 0xd0..=0xd7) => at += 2,
            _ => return at,
        }
    }
    bytes.len()
}

/// A scan's bits in one piece: escapes and restart markers are gone. Behind the end there are zeros.
#[derive(Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Where the stretches between restart markers end, in bits.
    ends: Vec<u32>,
}

impl Bits {
    /// Most bytes of a scan: positions are numbers of bits in 32 bits, and have room to run over.
    const MOST: usize = 1 << 28;

    /// Takes in the scan at the beginning of `scan`; what was there before is forgotten. `None` when there are more
    /// than `most` stretches, or too many bytes.
    pub(super) fn fill(&mut self, mut scan: &[u8], most: usize) -> Option<()> {
        self.bytes.clear();
        self.ends.clear();
        if scan.len() > Self::MOST {
            return None;
        }
        self.bytes.reserve(scan.len() + PADDING.len());
        loop {
            let clean = memchr(0xff, scan).unwrap_or(scan.len());
            self.bytes.extend_from_slice(&scan[..clean]);
            match scan.get(clean + 1) {
                Some(0) => self.bytes.push(0xff),
                Some(0xd0..=0xd7) if self.ends.len() + 1 < most => self.ends.push(self.bytes.len() as u32 * 8),
                _ => break,
            }
            scan = &scan[clean + 2..];
        }
        self.ends.push(self.bytes.len() as u32 * 8);
        self.bytes.extend_from_slice(&PADDING);
        Some(())
    }

    /// The stretches between restart markers: first bit, and the bit behind the last.
    pub(super) fn stretches(&self) -> impl ExactSizeIterator<Item = (u32, u32)> + Clone {
        (0..self.ends.len()).map(|at| (if at == 0 { 0 } else { self.ends[at - 1] }, self.ends[at]))
    }

    /// What of the stretches lies in one of `parts` parts of about the same length.
    pub(super) fn part(&self, part: usize, parts: usize) -> impl Iterator<Item = (u32, u32)> {
        let all = self.ends.last().map_or(0, |&end| u64::from(end));
        let cut = |part: usize| (all * part as u64 / parts as u64) as u32;
        let (begin, end) = (cut(part), cut(part + 1));
        self.stretches().map(move |(from, to)| (from.max(begin), to.min(end))).filter(|(from, to)| from < to)
    }

    /// The next bits from a position on, at least 57, the first one on top.
    #[inline(always)]
    pub(super) fn window(&self, at: u32) -> u64 {
        let from = at as usize >> 3;
        match self.bytes.get(from..from + 8) {
            Some(&[a, b, c, d, e, f, g, h]) => u64::from_be_bytes([a, b, c, d, e, f, g, h]) << (at & 7),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_markers_are_left_out() {
        let mut bits = Bits::default();
        bits.fill(&[1, 0xff, 0, 2, 0xff, 0xd3, 0xff, 0, 0xff, 0xd9, 7], 9).unwrap();
        assert_eq!(bits.bytes[..4], [1, 0xff, 2, 0xff]);
        assert_eq!(bits.stretches().collect::<Vec<_>>(), [(0, 24), (24, 32)]);
        for (scan, end) in [(&[5, 0xff][..], 8), (&[], 0), (&[0xff], 0), (&[1, 2, 3], 24)] {
            bits.fill(scan, 9).unwrap();
            assert_eq!(bits.stretches().collect::<Vec<_>>(), [(0, end)], "{scan:?}");
        }
    }

    #[test]
    fn a_scan_ends_at_a_marker_that_is_not_its_own() {
        assert_eq!(behind_scan(&[1, 0xff, 0, 0xff, 0xd2, 3, 0xff, 0xc4, 0, 2]), 6);
        assert_eq!([behind_scan(&[]), behind_scan(&[0xff]), behind_scan(&[1, 0xff, 0])], [0, 0, 3]);
    }

    #[test]
    fn a_marker_too_many_ends_the_scan() {
        let mut bits = Bits::default();
        bits.fill(&[1, 0xff, 0xd0, 2, 0xff, 0xd1, 3], 2).unwrap();
        assert_eq!(bits.stretches().collect::<Vec<_>>(), [(0, 8), (8, 16)]);
    }

    #[test]
    fn windows_at_every_position() {
        let mut bits = Bits::default();
        bits.fill(&[0b1010_0101, 0x0f, 0xa5, 0x3c], 1).unwrap();
        let all = u64::from(0xa50f_a53c_u32) << 32;
        for at in 0..32 {
            assert_eq!(bits.window(at) >> 40, (all << at) >> 40, "{at}");
        }
        assert_eq!((bits.window(1 << 31), bits.window(u32::MAX)), (0, 0));
    }
}
