//! Made-up JPEGs of every sampling and size: what is read at a fraction of the size shows what the
//! full decoder shows, and what is damaged is left to the full decoder.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

#[path = "reduced/writer.rs"]
mod writer;

use shoal_image::{Helpers, Pixels, Preprocessor, decode};
use shoal_shared::manifest::{Color, InputSpec, Layout, Resize};
use shoal_shared::sniff::ImageLimits;
use writer::{Made, file, random_jpeg};

/// Sampling of brightness (across, down); the others are stored once.
const SAMPLINGS: [(u8, u8); 6] = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (2, 4)];

fn made(random: &mut fastrand::Rng) -> Made {
    let components = if random.u8(..5) == 0 { 1 } else { 3 };
    let sampling = if components == 1 { (1, 1) } else { SAMPLINGS[random.usize(..SAMPLINGS.len())] };
    let restart = if random.bool() { random.u16(1..40) } else { 0 };
    let size = (random.u16(33..420), random.u16(33..420));
    Made { size, components, sampling, restart, detail: random.u8(1..60) }
}

/// Means of the squares of `factor` by `factor` pixels.
fn boxed(pixels: &Pixels, factor: u32) -> Vec<f32> {
    let (width, height) = (pixels.width.div_ceil(factor), pixels.height.div_ceil(factor));
    let squares = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |channel| (x, y, channel))));
    let mean = |(x, y, channel)| {
        let (mut sum, mut count) = (0.0, 0.0);
        for row in y * factor..pixels.height.min((y + 1) * factor) {
            for column in x * factor..pixels.width.min((x + 1) * factor) {
                sum += f32::from(pixels.rgb[((row * pixels.width + column) * 3 + channel) as usize]);
                count += 1.0;
            }
        }
        sum / count
    };
    squares.map(mean).collect()
}

#[test]
fn every_sampling_size_and_restart_shows_what_averaging_shows() {
    let (limits, mut random) = (ImageLimits::default(), fastrand::Rng::with_seed(7));
    for run in 0..100 {
        let made = made(&mut random);
        let bytes = random_jpeg(&made, &mut random);
        let whole = decode(&bytes, &limits, None).unwrap_or_else(|failure| panic!("{run} {made:?}: {failure}"));
        let shorter = whole.width.min(whole.height);
        for (factor, needed) in [(8, shorter / 8 * 3 / 4), (4, shorter / 8 * 3 / 2), (2, shorter / 8 * 2)] {
            let reduced = decode(&bytes, &limits, Some(needed)).unwrap();
            if (reduced.width, reduced.height) == (whole.width, whole.height) {
                // Brightness would need more than eight pixels of a colour block's side.
                assert!(factor == 2 && (made.sampling.0 == 4 || made.sampling.1 == 4), "{made:?} at 1/{factor}");
                continue;
            }
            assert_eq!((reduced.width, reduced.height), (whole.width.div_ceil(factor), whole.height.div_ceil(factor)));
            let expected = boxed(&whole, factor);
            let off: Vec<f32> = reduced
                .rgb
                .iter()
                .zip(&expected)
                .map(|(found, expected)| (f32::from(*found) - expected).abs())
                .collect();
            let (mean, most) = (off.iter().sum::<f32>() / off.len() as f32, off.iter().copied().fold(0.0, f32::max));
            // What lies apart is the filter: an average lets some of the finest noise through.
            assert!(
                mean < 3.0 && most < 30.0,
                "{run} {made:?} at 1/{factor}: off by {mean} on average, {most} at most"
            );
        }
    }
}

/// Each pair of files holds the same coefficients, in one scan and in ten.
const KINDS: [&str; 6] = ["420", "422", "440", "444", "restart", "gray"];

#[test]
fn a_progressive_file_shows_at_an_eighth_what_the_same_picture_in_one_scan_shows() {
    let limits = ImageLimits::default();
    for kind in KINDS {
        let [one, many] = ["scenery", "progressive"].map(|how| {
            let bytes = file(&format!("{how}-{kind}.jpg"));
            decode(&bytes, &limits, Some(11)).unwrap_or_else(|failure| panic!("{how}-{kind}: {failure}"))
        });
        assert_eq!((many.width, many.height), (one.width, one.height), "{kind}");
        assert!(many.width <= 21 && many.rgb == one.rgb, "{kind}");
    }
}

#[test]
fn a_damaged_progressive_file_is_an_error_or_a_picture() {
    let (limits, mut random) = (ImageLimits::default(), fastrand::Rng::with_seed(11));
    for run in 0..2000 {
        let mut bytes = file(&format!("progressive-{}.jpg", KINDS[run % KINDS.len()]));
        for _ in 0..random.usize(1..6) {
            let at = random.usize(2..bytes.len());
            bytes[at] = random.u8(..);
        }
        if random.bool() {
            bytes.truncate(random.usize(2..bytes.len()));
            bytes.extend([0xff, 0xd9]);
        }
        let _ = decode(&bytes, &limits, Some(11));
    }
}

#[test]
fn noise_in_the_middle_of_a_file_is_noticed() {
    let (limits, mut random) = (ImageLimits::default(), fastrand::Rng::with_seed(12));
    for name in ["scenery-420.jpg", "scenery-restart.jpg", "progressive-444.jpg"] {
        let mut noticed = 0;
        for run in 0..100 {
            let mut bytes = file(name);
            let from = random.usize(bytes.len() / 3..bytes.len() / 2);
            bytes[from..from + 600].fill_with(|| random.u8(..));
            let needed = [None, Some(11), Some(30)][run % 3];
            noticed += usize::from(decode(&bytes, &limits, needed).is_err());
        }
        assert!(noticed >= 80, "{name}: {noticed} of 100");
    }
}

/// A picture whose detail is the weaker the finer it is, as a photograph's.
fn photograph(width: u32, height: u32, random: &mut fastrand::Rng) -> image::RgbImage {
    let octaves: Vec<(f32, Vec<f32>)> = (2..8)
        .map(|octave| {
            let cells = 1 << octave;
            let strength = 120.0 / 1.7_f32.powi(octave);
            let grid = (0..(cells + 2) * (cells + 2) * 3).map(|_| (random.f32() - 0.5) * 2.0 * strength).collect();
            (cells as f32, grid)
        })
        .collect();
    image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([0, 1, 2].map(|channel| {
            let value: f32 = (octaves.iter())
                .map(|(cells, grid)| {
                    let (u, v) = (x as f32 / width as f32 * cells, y as f32 / height as f32 * cells);
                    let at = |du, dv| grid[((v as usize + dv) * (*cells as usize + 2) + u as usize + du) * 3 + channel];
                    let (fu, fv) = (u.fract(), v.fract());
                    let row = |dv| at(0, dv) * (1.0 - fu) + at(1, dv) * fu;
                    row(0) * (1.0 - fv) + row(1) * fv
                })
                .sum();
            (128.0 + value).clamp(0.0, 255.0) as u8
        }))
    })
}

fn encoded(picture: &image::RgbImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn a_photograph_gives_the_input_that_all_of_its_pixels_give() {
    let (limits, mut random) = (ImageLimits::default(), fastrand::Rng::with_seed(17));
    // An eighth, a quarter, half of the size; sides that eight does not divide. 1521 by 1127 become 134 by 100, but a
    // quarter of them 135 by 100, with another centre.
    for (width, height, needed) in [(1521, 1127, 100), (1127, 1521, 100), (1501, 1131, 200), (1131, 1507, 280)] {
        let jpeg = encoded(&photograph(width, height, &mut random), image::ImageFormat::Jpeg);
        let whole = decode(&jpeg, &limits, None).unwrap();
        let whole = image::RgbImage::from_raw(width, height, whole.rgb).unwrap();
        for resize in [Resize::ShorterSide, Resize::Stretch, Resize::Fit] {
            let side = needed - needed / 8;
            let shorter_side = (resize == Resize::ShorterSide).then_some(needed);
            let spec = InputSpec { resize, shorter_side, scale: 1.0, ..InputSpec::default() };
            let values = |bytes: &[u8]| {
                let mut preprocessor = Preprocessor::new(&spec, Layout::Nchw, (side, side), limits);
                let mut row = vec![0.0; preprocessor.row_len()];
                preprocessor.prepare(bytes, &mut row).unwrap();
                row
            };
            let (reduced, whole) = (values(&jpeg), values(&encoded(&whole, image::ImageFormat::Png)));
            let squares = reduced.iter().zip(&whole).map(|(found, expected)| (found - expected).powi(2));
            let off = (squares.sum::<f32>() / whole.len() as f32).sqrt();
            println!("{width}x{height} for {needed}, {resize:?}: off by {off}");
            assert!(off < 0.6, "{width}x{height} for {needed}, {resize:?}: off by {off}");
        }
    }
}

#[test]
fn what_is_damaged_is_what_the_full_decoder_makes_of_it() {
    let (limits, mut random) = (ImageLimits::default(), fastrand::Rng::with_seed(11));
    let mut left_to_it = 0;
    for _ in 0..200 {
        let made = made(&mut random);
        let mut bytes = random_jpeg(&made, &mut random);
        let whole = decode(&bytes, &limits, None).unwrap();
        // The end of the scan is cut out; the end marker stays.
        let cut = bytes.len() / 2 + random.usize(..bytes.len() / 2 - 2);
        bytes.drain(cut..bytes.len() - 2);
        let (cut, reduced) = (decode(&bytes, &limits, None), decode(&bytes, &limits, Some(4)));
        match (cut, reduced) {
            (Ok(cut), Ok(reduced)) => {
                assert_eq!((reduced.width, reduced.height), (whole.width, whole.height), "{made:?}: taken for intact");
                assert!(cut.rgb == reduced.rgb);
                left_to_it += 1;
            }
            (Err(one), Err(other)) => assert_eq!(one.message, other.message),
            (one, other) => panic!("{made:?}: {:?} {:?}", one.map(|_| ()), other.map(|_| ())),
        }
    }
    assert!(left_to_it > 0);
}

#[test]
fn one_preprocessor_gives_the_same_for_a_picture_whatever_came_before_it() {
    let mut random = fastrand::Rng::with_seed(3);
    let pictures: Vec<Vec<u8>> = (0..40)
        .map(|_| {
            let made = made(&mut random);
            random_jpeg(&made, &mut random)
        })
        .collect();
    for (color, resize) in
        [(Color::Rgb, Resize::ShorterSide), (Color::Gray, Resize::Stretch), (Color::Bgr, Resize::Fit)]
    {
        let spec = InputSpec { color, resize, shorter_side: Some(10), ..InputSpec::default() };
        let fresh = || Preprocessor::new(&spec, Layout::Nchw, (8, 8), ImageLimits::default());
        let mut used = fresh();
        for picture in &pictures {
            let (mut first, mut second) = (vec![0.0; used.row_len()], vec![0.0; used.row_len()]);
            used.prepare(picture, &mut first).unwrap();
            fresh().prepare(picture, &mut second).unwrap();
            assert_eq!(first, second);
        }
    }
}

#[test]
fn helpers_change_nothing_but_the_time() {
    let mut random = fastrand::Rng::with_seed(13);
    for color in [Color::Rgb, Color::Gray] {
        let spec = InputSpec { color, resize: Resize::ShorterSide, shorter_side: Some(60), ..InputSpec::default() };
        let alone = || Preprocessor::new(&spec, Layout::Nchw, (56, 56), ImageLimits::default());
        let mut helped: Vec<Preprocessor> = [1, 2, 5].map(|count| alone().helped_by(Helpers::of(count))).into();
        for (components, sampling, restart) in [(3, (2, 2), 0), (3, (1, 1), 77), (1, (1, 1), 0)] {
            // Worth two helpers at least.
            let made = Made { size: (2300, 1700), components, sampling, restart, detail: 40 };
            let bytes = random_jpeg(&made, &mut random);
            assert!(bytes.len() > 512 << 10, "{} bytes", bytes.len());
            let mut expected = vec![0.0; alone().row_len()];
            alone().prepare(&bytes, &mut expected).unwrap();
            for preprocessor in &mut helped {
                let mut row = vec![0.0; expected.len()];
                preprocessor.prepare(&bytes, &mut row).unwrap();
                assert!(row == expected, "{color:?} {made:?}");
                // What is cut off is noticed by all of them.
                let mut cut = bytes.clone();
                cut.drain(bytes.len() / 3..bytes.len() - 2);
                let (alone, helped) = (alone().prepare(&cut, &mut row), preprocessor.prepare(&cut, &mut row));
                assert_eq!(alone.err().map(|failure| failure.message), helped.err().map(|failure| failure.message));
            }
        }
    }
}
