//! The practice server's classifier: it knows the ten digits that ship, pixel by pixel.

use std::sync::OnceLock;

use crate::pool::DIGITS;

/// The digit that an upload shows, raw or inside a form; anything else is a photograph.
pub(super) fn label(body: &[u8]) -> &'static str {
    const LABELS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    static KNOWN: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    const PNG: &[u8] = b"\x89PNG";
    let known = KNOWN.get_or_init(|| DIGITS.iter().map(|digit| pixels(digit).unwrap_or_default()).collect());
    let Some(at) = body.windows(PNG.len()).take(1024).position(|window| window == PNG) else { return "photograph" };
    let shown = pixels(&body[at..]).unwrap_or_default();
    let found = known.iter().position(|digit| !shown.is_empty() && *digit == shown);
    found.map_or("photograph", |digit| LABELS[digit])
}

/// Nothing but small images: the others are not digits.
fn pixels(png: &[u8]) -> Option<Vec<u8>> {
    const LARGEST: usize = 16 << 10;
    if png.len() > LARGEST {
        return None;
    }
    Some(image::load_from_memory_with_format(png, image::ImageFormat::Png).ok()?.into_luma8().into_raw())
}
