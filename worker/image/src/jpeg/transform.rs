//! From the lowest frequencies of a block to its picture at some eighths of its width and height.

use std::array::from_fn;
use std::sync::LazyLock;

use super::blocks::Low;

/// The picture of a block of which only the mean counts: one pixel.
#[inline(always)]
pub(super) fn mean_of(first: i32) -> u8 {
    ((first.wrapping_add(4) >> 3).saturating_add(128)).clamp(0, 255) as u8
}

/// The picture of a block from its coefficients, eight to a row, of which the lowest count.
#[inline(always)]
pub(super) fn picture<const ACROSS: usize, const DOWN: usize>(low: &Low) -> [[u8; ACROSS]; DOWN] {
    let (across, down) = (&BASES[ACROSS.ilog2() as usize], &BASES[DOWN.ilog2() as usize]);
    let rows: [[f32; ACROSS]; DOWN] = from_fn(|v| {
        let mut row = [0.0; ACROSS];
        for u in 0..ACROSS {
            (0..ACROSS).for_each(|x| row[x] += low[v * 8 + u] * across[u][x]);
        }
        row
    });
    from_fn(|y| {
        let mut line = [128.5; ACROSS];
        for v in 0..DOWN {
            (0..ACROSS).for_each(|x| line[x] += rows[v][x] * down[v][y]);
        }
        line.map(|value| (value as i32).clamp(0, 255) as u8)
    })
}

/// For one, two, four and eight pixels a side.
static BASES: LazyLock<[[[f32; 8]; 8]; 4]> = LazyLock::new(|| from_fn(|side| basis(1 << side)));

/// `a(u) cos((2x + 1) u π / 2 side) sqrt(side / 8)` by `u` and `x`, orthonormal `a`: what makes the
/// lowest frequencies of eight pixels a signal of `side`.
fn basis(side: usize) -> [[f32; 8]; 8] {
    from_fn(|u| {
        from_fn(|x| {
            if u >= side || x >= side {
                return 0.0;
            }
            let a = if u == 0 { 1.0 / side as f64 } else { 2.0 / side as f64 }.sqrt();
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / (2 * side) as f64;
            (a * angle.cos() * (side as f64 / 8.0).sqrt()) as f32
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat<const ACROSS: usize, const DOWN: usize>(value: i32) -> bool {
        let mut low = [0.0; 65];
        low[0] = (8 * value) as f32;
        let expected = (value + 128).clamp(0, 255) as u8;
        mean_of(8 * value) == expected && picture::<ACROSS, DOWN>(&low) == [[expected; ACROSS]; DOWN]
    }

    #[test]
    fn a_flat_block_keeps_its_value_at_every_size() {
        for value in [-300, -128, -7, 0, 50, 127, 200] {
            assert!(flat::<1, 1>(value) && flat::<2, 2>(value) && flat::<2, 1>(value), "{value}");
            assert!(flat::<4, 4>(value) && flat::<4, 8>(value) && flat::<8, 8>(value), "{value}");
        }
    }

    #[test]
    fn a_slope_stays_a_slope() {
        // The second coefficient of a row: from bright on the left to dark on the right.
        let mut low = [0.0; 65];
        low[1] = 200.0;
        for row in picture::<4, 2>(&low) {
            assert!(row.is_sorted_by(|left, right| left > right), "{row:?}");
            assert_eq!(u32::from(row[0]) + u32::from(row[3]), 256, "{row:?}");
        }
    }
}
