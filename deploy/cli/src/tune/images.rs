//! The images that answers are compared on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use shoal_shared::manifest::{InputSpec, Layout};
use shoal_shared::sniff::ImageLimits;
use shoal_worker::image::Preprocessor;
use shoal_worker::model::Model;

/// Most images that are used; of more, the first by name.
const MOST: usize = 5000;
/// The size they are tried at where the manifest leaves it to the file.
const SIDE: u32 = 224;

/// The images in a folder that can be decoded; those that cannot are named and left out.
pub(super) fn of(folder: &Path, model: &Model) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let mut preprocessor = preprocessor(&model.manifest.input);
    let mut row = vec![0.0; preprocessor.row_len()];
    let (mut images, mut refused) = (Vec::new(), 0);
    for path in files {
        if images.len() == MOST {
            println!("only the first {MOST} images are used");
            break;
        }
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        match preprocessor.prepare(&bytes, &mut row) {
            Ok(()) => images.push(path),
            Err(failure) => {
                refused += 1;
                eprintln!("left out: {}: {failure}", path.display());
            }
        }
    }
    ensure!(
        !images.is_empty(),
        "{} holds no image that can be decoded ({refused} files were tried): give a folder of photographs",
        folder.display()
    );
    Ok(images)
}

fn preprocessor(spec: &InputSpec) -> Preprocessor {
    let size = (spec.width.unwrap_or(SIDE), spec.height.unwrap_or(SIDE));
    Preprocessor::new(spec, Layout::Nchw, size, ImageLimits::default())
}
