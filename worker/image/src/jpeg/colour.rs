//! From a JPEG's brightness and two differences to red, green and blue.

/// Fills a row of pixels in JFIF's conversion, in sixteen bits of fraction.
pub(super) fn fill_rgb(rgb: &mut [u8], luma: &[u8], blue: &[u8], red: &[u8]) {
    let pixels = rgb.as_chunks_mut::<3>().0;
    for (((to, &y), &cb), &cr) in pixels.iter_mut().zip(luma).zip(blue).zip(red) {
        *to = pixel(y, cb, cr);
    }
}

/// Fills a row with greys.
pub(super) fn fill_grey(rgb: &mut [u8], luma: &[u8]) {
    for (to, &luma) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(luma) {
        *to = [luma; 3];
    }
}

#[inline(always)]
fn pixel(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = ((i32::from(y) << 16) + 0x8000, i32::from(cb) - 128, i32::from(cr) - 128);
    let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
    [byte(y + 91_881 * cr), byte(y - 22_554 * cb - 46_802 * cr), byte(y + 116_130 * cb)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_greys() {
        let mut rgb = [0; 15];
        fill_rgb(&mut rgb[..12], &[76, 149, 29, 200], &[85, 43, 255, 128], &[255, 21, 107, 128]);
        fill_grey(&mut rgb[12..], &[9]);
        let expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [200; 3], [9; 3]];
        let off = rgb.iter().zip(expected.as_flattened()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(2), "{rgb:?}");
    }
}
