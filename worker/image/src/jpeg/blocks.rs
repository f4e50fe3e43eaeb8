//! Reading blocks whose beginnings are known: the mean (DC) of all, and the lowest frequencies (AC)
//! of those that are looked at.

use super::bits::Bits;
use super::codes::signed;
use super::steps::Pair;

/// Where each coefficient of the file's zigzag order belongs: row * 8 + column.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// A block's coefficients, eight to a row, and behind them a place for those that are not needed.
pub(super) type Low = [f32; 65];

/// Where the coefficients belong that a picture of so many pixels needs, by their position in zigzag order.
struct Needed<const ACROSS: usize, const DOWN: usize>;

impl<const ACROSS: usize, const DOWN: usize> Needed<ACROSS, DOWN> {
    const PLACES: [u8; 64] = {
        let (mut places, mut position) = (ZIGZAG, 0);
        while position < 64 {
            let natural = ZIGZAG[position] as usize;
            if natural / 8 >= DOWN || natural % 8 >= ACROSS {
                places[position] = 64;
            }
            position += 1;
        }
        places
    };
    /// Position of the last of them.
    const LAST: usize = {
        let mut position = 63;
        while Self::PLACES[position] == 64 {
            position -= 1;
        }
        position
    };
}

/// What one component's blocks are read with.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    pub(super) bits: &'a Bits,
    pub(super) codes: Pair<'a>,
    pub(super) quantisers: &'a [u16; 64],
}

impl Blocks<'_> {
    /// The difference of a block's mean to the one before, and the position behind it.
    #[inline(always)]
    pub(super) fn difference(&self, at: u32) -> Option<(i32, u32)> {
        let window = self.bits.window(at);
        let (size, length) = self.codes.first.find(window)?;
        let size = u32::from(size & 15);
        Some((signed(window << length, size), at + length + size))
    }

    /// Reads the lowest coefficients but the first from behind it into `low`, which holds zeros. Those that are not needed
    /// are not asked about one by one: which they are cannot be guessed.
    #[inline(always)]
    pub(super) fn read_low<const ACROSS: usize, const DOWN: usize>(&self, mut at: u32, low: &mut Low) -> Option<()> {
        let mut position = 1;
        while position <= Needed::<ACROSS, DOWN>::LAST {
            let window = self.bits.window(at);
            let (symbol, length) = self.codes.others.find(window)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            at += length + size;
            if size == 0 {
                match run {
                    15 => position += 16,
                    _ => return Some(()),
                }
                continue;
            }
            position += run;
            let place = usize::from(*Needed::<ACROSS, DOWN>::PLACES.get(position)?);
            low[place] = (signed(window << length, size) * i32::from(self.quantisers[position])) as f32;
            position += 1;
        }
        Some(())
    }
}
