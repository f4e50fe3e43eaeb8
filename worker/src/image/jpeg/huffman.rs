//! Reading bits and Huffman codes of a JPEG scan.

/// Codes up to this length are found in one step.
const LOOKUP: u32 = 10;

/// The bits of a scan. Behind its end, or a marker, there are zeros.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, the first one on top.
    buffer: u64,
    count: u32,
    /// Bits in the buffer that were made up.
    invented: u32,
    starved: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, buffer: 0, count: 0, invented: 0, starved: false }
    }

    /// Makes sure that there are enough bits for a code and its value: 32.
    fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        // Four bytes at once, unless one of them is the escape.
        if let Some(&[a, b, c, d]) = self.data.get(self.at..).and_then(|rest| rest.first_chunk())
            && ![a, b, c, d].contains(&0xff)
        {
            self.buffer |= u64::from(u32::from_be_bytes([a, b, c, d])) << (32 - self.count);
            self.count += 32;
            self.at += 4;
            return;
        }
        while self.count <= 56 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(&byte), _) if byte != 0xff => {
                    self.at += 1;
                    byte
                }
                _ => {
                    self.invented += 8;
                    0
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn consume(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count = self.count.saturating_sub(bits);
        self.starved |= self.count < self.invented;
    }

    /// Whether bits were read that are not in the file.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// A number of so many bits, at most 16; the upper half of its range is positive.
    pub(super) fn read_signed(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let bits = (self.buffer >> (64 - size)) as i32;
        self.consume(size);
        if bits >> (size - 1) == 0 { bits - (1 << size) + 1 } else { bits }
    }

    /// Goes on behind a restart marker, which must be the next thing in the file.
    pub(super) fn restart(&mut self) -> Option<()> {
        if self.starved || self.count - self.invented >= 8 {
            return None;
        }
        let &[prefix, marker] = self.data.get(self.at..)?.first_chunk()?;
        if prefix != 0xff || !(0xd0..=0xd7).contains(&marker) {
            return None;
        }
        *self = Self::new(self.data, self.at + 2);
        Some(())
    }
}

/// One code table.
pub(super) struct Table {
    /// By the next [`LOOKUP`] bits: symbol and length of the code; length 0 when it is longer.
    short: Box<[(u8, u8); 1 << LOOKUP]>,
    /// By length: the first code behind those of that length, aligned to 16 bits.
    ends: [u32; 17],
    /// By length: index of its first symbol, less its first code.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From the number of codes of each length, and the symbols in the order of their codes.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table =
            Self { short: Box::new([(0, 0); 1 << LOOKUP]), ends: [0; 17], offsets: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            table.offsets[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                let symbol = *symbols.get(index)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= LOOKUP {
                    let first = (code << (LOOKUP - length)) as usize;
                    table.short[first..first + (1 << (LOOKUP - length))].fill((symbol, length as u8));
                }
                code += 1;
                index += 1;
            }
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// The next symbol; leaves at least 16 bits in the buffer for its value.
    fn read(&self, bits: &mut Bits<'_>) -> Option<u8> {
        bits.refill();
        let (symbol, length) = self.short[(bits.buffer >> (64 - LOOKUP)) as usize];
        if length > 0 {
            bits.consume(u32::from(length));
            return Some(symbol);
        }
        let next = (bits.buffer >> 48) as u32;
        let length = (LOOKUP as usize + 1..=16).find(|&length| next < self.ends[length])?;
        let index = (next >> (16 - length)) as i32 + self.offsets[length];
        bits.consume(length as u32);
        self.symbols.get(usize::try_from(index).ok()?).copied()
    }

    /// The difference of a block's mean to the one before.
    pub(super) fn read_difference(&self, bits: &mut Bits<'_>) -> Option<i32> {
        let size = u32::from(self.read(bits)?);
        (size <= 15).then(|| bits.read_signed(size))
    }

    /// Coefficients that are zero, and the size of the next one; its value follows.
    pub(super) fn read_detail(&self, bits: &mut Bits<'_>) -> Option<(usize, u32)> {
        let symbol = self.read(bits)?;
        Some((usize::from(symbol >> 4), u32::from(symbol & 15)))
    }

    /// Skips the rest of a block, from a position in zigzag order on.
    pub(super) fn skip(&self, bits: &mut Bits<'_>, mut position: usize) -> Option<()> {
        while position < 64 {
            let (run, size) = self.read_detail(bits)?;
            if size == 0 && run < 15 {
                return (run == 0).then_some(());
            }
            bits.consume(size);
            position += run + 1;
        }
        (position == 64).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three symbols: 0, 10, 110.
    fn table() -> Table {
        let mut counts = [0; 16];
        counts[..3].copy_from_slice(&[1, 1, 1]);
        Table::new(&counts, &[7, 8, 9]).unwrap()
    }

    #[test]
    fn codes_are_read_in_order_and_the_end_is_noticed() {
        let data = [0b0101_1001, 0b0110_0000];
        let mut bits = Bits::new(&data, 0);
        let symbols: Vec<u8> = (0..6).map(|_| table().read(&mut bits).unwrap()).collect();
        assert_eq!(symbols, [7, 8, 9, 7, 8, 9]);
        assert!(!bits.is_starved());
        (0..6).for_each(|_| _ = table().read(&mut bits));
        assert!(bits.is_starved());
    }

    #[test]
    fn long_codes_and_escaped_bytes() {
        let mut counts = [0; 16];
        (counts[0], counts[11]) = (1, 2);
        // 0, then 1000 0000 0000 and 1000 0000 0001.
        let table = Table::new(&counts, &[1, 2, 3]).unwrap();
        let data = [0b1000_0000, 0b0001_1000, 0b0000_0000, 0b0111_1111, 0xff, 0x00];
        let mut bits = Bits::new(&data, 0);
        assert_eq!([table.read(&mut bits), table.read(&mut bits), table.read(&mut bits)], [Some(3), Some(2), Some(1)]);
        bits.refill();
        assert_eq!(bits.read_signed(15), (1 << 15) - 1);
    }

    #[test]
    fn more_codes_than_fit_are_no_table() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
    }

    #[test]
    fn signs() {
        let mut bits = Bits::new(&[0b0010_1110, 0b1000_0000, 0, 0], 0);
        bits.refill();
        assert_eq!(
            [bits.read_signed(2), bits.read_signed(2), bits.read_signed(3), bits.read_signed(2)],
            [-3, 2, 7, -2]
        );
    }
}
