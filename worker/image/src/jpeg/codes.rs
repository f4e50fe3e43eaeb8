//! One Huffman table of a JPEG: from bits to symbols.

/// Codes up to this length are found in one step.
const SHORT: u32 = 10;

/// The codes of one table.
pub(super) struct Codes {
    /// By the next [`SHORT`] bits: symbol and length of the code; length 0 when it is longer.
    short: Box<[(u8, u8); 1 << SHORT]>,
    /// By length: the first code behind those of that length, aligned to 16 bits.
    ends: [u32; 17],
    /// By length: index of its first symbol, less its first code.
    offsets: [i32; 17],
    symbols: Vec<u8>,
    counts: [u8; 16],
}

impl Codes {
    /// From a table as it stands in the file: the number of codes of each length, then the symbols in
    /// the order of their codes.
    pub(super) fn new(definition: &[u8]) -> Option<Self> {
        let (&counts, symbols) = definition.split_first_chunk::<16>()?;
        let mut codes = Self {
            short: Box::new([(0, 0); 1 << SHORT]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
            counts,
        };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, count) in (1u32..).zip(counts) {
            codes.offsets[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                let symbol = *symbols.get(index)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= SHORT {
                    let first = (code << (SHORT - length)) as usize;
                    codes.short[first..first + (1 << (SHORT - length))].fill((symbol, length as u8));
                }
                code += 1;
                index += 1;
            }
            codes.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(codes)
    }

    /// The symbol at the top of `window`, and the length of its code.
    #[inline(always)]
    pub(super) fn find(&self, window: u64) -> Option<(u8, u32)> {
        let (symbol, length) = self.short[(window >> (64 - SHORT)) as usize];
        if length > 0 { Some((symbol, u32::from(length))) } else { self.find_long(window) }
    }

    #[cold]
    fn find_long(&self, window: u64) -> Option<(u8, u32)> {
        let next = (window >> 48) as u32;
        let length = (SHORT as usize + 1..=16).find(|&length| next < self.ends[length])?;
        let index = (next >> (16 - length)) as i32 + self.offsets[length];
        let symbol = *self.symbols.get(usize::try_from(index).ok()?)?;
        Some((symbol, length as u32))
    }

    /// Every code with its length and symbol, shortest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32, u8)> {
        let lengths = (1u32..).zip(self.counts).flat_map(|(length, count)| std::iter::repeat_n(length, count.into()));
        lengths.zip(&self.symbols).scan((0u32, 0u32), |(code, before), (length, &symbol)| {
            *code <<= length - *before;
            *before = length;
            let this = *code;
            *code += 1;
            Some((this, length, symbol))
        })
    }
}

/// The number of `size` bits (at most 16) at the top of `window`: the upper half of its range is positive,
/// the lower half stands for as many negative ones.
#[inline(always)]
pub(super) fn signed(window: u64, size: u32) -> i32 {
    let bits = (window >> 1 >> (63 - size)) as i32;
    let is_negative = !(window as i64 >> 63) as i32;
    bits + (((-1i32 << size) + 1) & is_negative)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(counts: &[(usize, u8)], symbols: &[u8]) -> Vec<u8> {
        let mut definition = vec![0; 16];
        counts.iter().for_each(|&(length, count)| definition[length - 1] = count);
        definition.extend(symbols);
        definition
    }

    #[test]
    fn short_and_long_codes() {
        // 0, then 1000 0000 0000 and 1000 0000 0001.
        let codes = Codes::new(&definition(&[(1, 1), (12, 2)], &[1, 2, 3])).unwrap();
        assert_eq!(codes.find(0), Some((1, 1)));
        assert_eq!(codes.find(0x800 << 52), Some((2, 12)));
        assert_eq!(codes.find(0x801 << 52), Some((3, 12)));
        assert_eq!(codes.find(0x802 << 52), None);
        assert_eq!(codes.iter().collect::<Vec<_>>(), [(0, 1, 1), (0x800, 12, 2), (0x801, 12, 3)]);
    }

    #[test]
    fn more_codes_than_fit_and_symbols_that_are_missing_are_no_table() {
        assert!(Codes::new(&definition(&[(1, 3)], &[1, 2, 3])).is_none());
        assert!(Codes::new(&definition(&[(2, 3)], &[1, 2])).is_none());
        assert!(Codes::new(&[0; 15]).is_none());
    }

    #[test]
    fn signs() {
        let top = |bits: u64, size: u32| signed(bits.checked_shl(64 - size).unwrap_or(0), size);
        assert_eq!([top(0, 0), top(0, 1), top(1, 1), top(0, 2), top(2, 2), top(7, 3)], [0, -1, 1, -3, 2, 7]);
        assert_eq!([top(0, 16), top(0xffff, 16)], [-65_535, 65_535]);
        assert_eq!(signed(u64::MAX, 0), 0);
    }
}
