//! Photographs that nobody took: JPEGs of a given size in pixels and bytes, with detail at every
//! scale as real ones have, so that decoding them costs what decoding a photograph costs.

use image::codecs::jpeg::JpegEncoder;
use image::{ImageResult, Rgb, RgbImage};

/// A JPEG of `width` by `height` pixels whose length comes as near to `bytes` as quality can bring it.
pub fn jpeg(width: u32, height: u32, bytes: usize, seed: u64) -> ImageResult<Vec<u8>> {
    let pixels = scene(width, height, seed);
    let encode = |quality| {
        let mut encoded = Vec::new();
        JpegEncoder::new_with_quality(&mut encoded, quality).encode_image(&pixels)?;
        ImageResult::Ok(encoded)
    };
    let (mut low, mut high) = (1u8, 100u8);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if encode(middle)?.len() > bytes { high = middle } else { low = middle }
    }
    encode(low)
}

/// Value noise of seven octaves, each half as strong as the one before: the spectrum of a landscape.
fn scene(width: u32, height: u32, seed: u64) -> RgbImage {
    let mut rng = fastrand::Rng::with_seed(seed);
    let octaves: Vec<(f32, [Vec<f32>; 3])> = (0..7)
        .map(|octave| {
            let cells = 3usize << octave;
            (cells as f32, std::array::from_fn(|_| (0..(cells + 2) * (cells + 2)).map(|_| rng.f32() - 0.5).collect()))
        })
        .collect();
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        Rgb(std::array::from_fn(|channel| {
            let value: f32 = (0..)
                .zip(&octaves)
                .map(|(octave, (cells, grids))| sample(&grids[channel], *cells, u, v) / 1.7f32.powi(octave))
                .sum();
            (128.0 + 150.0 * value).clamp(0.0, 255.0) as u8
        }))
    })
}

fn sample(grid: &[f32], cells: f32, u: f32, v: f32) -> f32 {
    let (x, y) = (u * cells, v * cells);
    let (column, row, width) = (x as usize, y as usize, cells as usize + 2);
    let (fx, fy) = (x.fract(), y.fract());
    let at = |dx: usize, dy: usize| grid[(row + dy) * width + column + dx];
    let top = at(0, 0) + fx * (at(1, 0) - at(0, 0));
    let bottom = at(0, 1) + fx * (at(1, 1) - at(0, 1));
    top + fy * (bottom - top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_size_asked_for_and_differs_by_seed() {
        let photograph = jpeg(500, 375, 58_000, 1).unwrap();
        assert!((45_000..=58_000).contains(&photograph.len()), "{}", photograph.len());
        let decoded = image::load_from_memory(&photograph).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (500, 375));
        assert_ne!(photograph, jpeg(500, 375, 58_000, 2).unwrap());
    }
}
