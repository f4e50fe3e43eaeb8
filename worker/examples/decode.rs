//! What it costs to make a model's input of an image, on one thread and with the help of another: `decode FILE...` prints, for
//! each file and each target, the fewest and the median milliseconds of many runs. JPEGs of a kind that the
//! table in `docs/decoding.md` has come from `worker/examples/photographs.py`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not a service")]

use std::time::{Duration, Instant};

use shoal_shared::manifest::{Color, InputSpec, Layout, Resize};
use shoal_shared::sniff::ImageLimits;
use shoal_worker::image::{Helpers, Preprocessor, decode};

/// Long enough for many runs of the largest file.
const TIME: Duration = Duration::from_millis(1500);

fn fewest_and_median(mut work: impl FnMut()) -> (f64, f64) {
    let until = Instant::now() + TIME;
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        work();
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    (took[0], took[took.len() / 2])
}

fn main() {
    let limits = ImageLimits::default();
    let gray = InputSpec { color: Color::Gray, resize: Resize::Stretch, ..InputSpec::default() };
    let rgb = InputSpec { resize: Resize::ShorterSide, shorter_side: Some(256), ..InputSpec::default() };
    for file in std::env::args().skip(1) {
        let bytes = std::fs::read(&file).unwrap();
        let whole = decode(&bytes, &limits, None).unwrap();
        println!("{file}: {} bytes, {}x{}", bytes.len(), whole.width, whole.height);
        let (fewest, median) = fewest_and_median(|| _ = decode(&bytes, &limits, None).unwrap());
        println!("  decoded whole            {fewest:8.3} {median:8.3} ms");
        for (name, spec, side) in [("8x8 grey", &gray, 8), ("224x224 of 256", &rgb, 224)] {
            for (helpers, threads) in [(0, "one thread"), (1, "two threads")] {
                let mut preprocessor =
                    Preprocessor::new(spec, Layout::Nchw, (side, side), limits).helped_by(Helpers::of(helpers));
                let mut row = vec![0.0; preprocessor.row_len()];
                let (fewest, median) = fewest_and_median(|| preprocessor.prepare(&bytes, &mut row).unwrap());
                println!("  to {name}, {threads:11}  {fewest:8.3} {median:8.3} ms");
            }
        }
        for needed in [8, 16, 32, 64, 128, 256, 512] {
            let reduced = decode(&bytes, &limits, Some(needed)).unwrap();
            if (reduced.width, reduced.height) != (whole.width, whole.height) {
                let (fewest, median) = fewest_and_median(|| _ = decode(&bytes, &limits, Some(needed)).unwrap());
                println!("  {}x{} in RGB, cold {fewest:8.3} {median:8.3} ms", reduced.width, reduced.height);
            }
        }
    }
}
