//! The images: found in a folder, prepared as workers do it, and split into those that calibrate and
//! those that are kept back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use shoal_worker::image::Preprocessor;

/// File names that are looked at; ready-made tensors are taken as workers take them.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "npy"];
/// Most images that are used: beyond a few hundred ranges hardly move.
const MAX_IMAGES: usize = 1_000;
/// Most memory for what they are turned into, bytes.
const MAX_PREPARED: usize = 1 << 30;
/// Most files that are looked at.
const MAX_FILES: usize = 100_000;
/// Most sentences about images that are left out.
const MAX_COMPLAINTS: usize = 20;

/// Rows of the model's input.
pub(super) struct Prepared {
    /// Those that ranges are taken from.
    pub(super) calibration: Vec<Vec<f32>>,
    /// Those kept back.
    pub(super) holdout: Vec<Vec<f32>>,
}

/// A part between nothing and everything, from the command line.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a number between 0 and 1".to_owned())?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err("more than 0 and less than 1".into()) }
}

/// Prepares the images of a folder. Those that cannot be are listed and left out.
pub(super) fn prepare(folder: &Path, mut preprocessor: Preprocessor, holdout: f64) -> anyhow::Result<Prepared> {
    let files = by_content(find(folder)?)?;
    ensure!(
        !files.is_empty(),
        "no images in {}: files named {} are looked for",
        folder.display(),
        EXTENSIONS.join(", ")
    );
    let most = MAX_IMAGES.min(MAX_PREPARED / (preprocessor.row_len() * size_of::<f32>())).max(2);
    let (mut rows, mut left_out) = (Vec::new(), 0);
    for path in files.values() {
        if rows.len() == most {
            eprintln!("{} images are more than are used: {most} of them, whichever their contents choose", files.len());
            break;
        }
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let mut row = vec![0.0; preprocessor.row_len()];
        match preprocessor.prepare(&bytes, &mut row) {
            Ok(()) => rows.push(row),
            Err(failure) => {
                left_out += 1;
                if left_out <= MAX_COMPLAINTS {
                    eprintln!("left out: {}: {}", path.display(), failure.message);
                }
            }
        }
    }
    if left_out > MAX_COMPLAINTS {
        eprintln!("left out: {} more", left_out - MAX_COMPLAINTS);
    }
    ensure!(
        rows.len() >= 2,
        "{} usable {} in {} ({left_out} left out): two are the least, a few hundred are right",
        rows.len(),
        if rows.len() == 1 { "image" } else { "images" },
        folder.display()
    );
    let calibration = rows.split_off(kept_back(rows.len(), holdout));
    Ok(Prepared { calibration, holdout: rows })
}

/// How many of so many images are kept back: at least one, and not all.
fn kept_back(images: usize, share: f64) -> usize {
    ((images as f64 * share).round() as usize).clamp(1, images - 1)
}

/// Files by the SHA-256 of their content, which also decides who is kept back: the same images are split
/// the same way whatever their names, and copies of one image count once.
fn by_content(files: Vec<PathBuf>) -> anyhow::Result<BTreeMap<[u8; 32], PathBuf>> {
    let mut known = BTreeMap::new();
    for path in files {
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        known.entry(Sha256::digest(&bytes).into()).or_insert(path);
    }
    Ok(known)
}

/// Everything named like an image, in the folder and those in it; links to folders are not followed.
fn find(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry.with_context(|| folder.display().to_string())?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if is_named_like_an_image(&path) {
                ensure!(found.len() < MAX_FILES, "more than {MAX_FILES} images: a few hundred are right");
                found.push(path);
            }
        }
    }
    // The order of a folder is no order: the first of two copies is always the same.
    found.sort();
    Ok(found)
}

fn is_named_like_an_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

#[cfg(test)]
mod tests {
    use shoal_shared::manifest::{InputSpec, Layout};
    use shoal_shared::sniff::ImageLimits;

    use super::*;

    fn preprocessor() -> Preprocessor {
        Preprocessor::new(&InputSpec::default(), Layout::Nchw, (4, 4), ImageLimits::default())
    }

    fn refusal(folder: &Path) -> String {
        prepare(folder, preprocessor(), 0.5).err().unwrap().to_string()
    }

    fn picture(folder: &Path, name: &str, shade: u8) {
        image::RgbImage::from_pixel(5, 5, image::Rgb([shade; 3])).save(folder.join(name)).unwrap();
    }

    #[test]
    fn the_split_follows_contents_and_copies_count_once() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(two.path().join("inside")).unwrap();
        for shade in 0..10 {
            picture(one.path(), &format!("{shade}.png"), shade * 20);
            picture(two.path(), &format!("inside/{}.PNG", 9 - shade), shade * 20);
            picture(two.path(), &format!("copy-{shade}.png"), shade * 20);
        }
        let one = prepare(one.path(), preprocessor(), 0.3).unwrap();
        let two = prepare(two.path(), preprocessor(), 0.3).unwrap();
        assert_eq!((one.holdout.len(), one.calibration.len()), (3, 7));
        assert_eq!((&one.holdout, &one.calibration), (&two.holdout, &two.calibration));
    }

    #[test]
    fn some_are_kept_back_and_some_are_left() {
        assert_eq!([kept_back(2, 0.01), kept_back(2, 0.99), kept_back(100, 0.2)], [1, 1, 20]);
        assert!(share("0").is_err() && share("1").is_err() && share("much").is_err());
    }

    #[test]
    fn what_is_missing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "no image").unwrap();
        assert!(refusal(folder.path()).starts_with("no images in "));
        fs::write(folder.path().join("torn.jpg"), [0xff, 0xd8, 0xff]).unwrap();
        assert!(refusal(folder.path()).contains("0 usable images"));
        picture(folder.path(), "whole.png", 7);
        assert!(refusal(folder.path()).contains("1 usable image in"));
        assert!(refusal(&folder.path().join("nowhere")).contains("nowhere"));
    }
}
