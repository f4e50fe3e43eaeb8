//! Which images are sent, and how often the same one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which images are sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// The ten handwritten digits that ship with Shoal, with their true labels. The default when
    /// nothing else is named.
    pub digits: bool,
    /// Every JPEG and PNG in a folder, without labels.
    pub folder: Option<PathBuf>,
    /// Images by name, with a label if it is known.
    #[serde(rename = "file")]
    pub files: Vec<ImageFile>,
    /// Photographs that nobody took.
    pub generate: Option<Generate>,
    /// How often the same body comes again.
    pub mix: Mix,
    /// With `mix = "unique"`: the share of bodies that never came before. The rest are repeated.
    pub unique: f64,
    /// With `mix = "zipf"`: how steep popularity falls; 1.0 is what web caches see.
    pub exponent: f64,
    /// With `mix = "zipf"`: how many different bodies there are.
    pub bodies: u64,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            digits: false,
            folder: None,
            files: Vec::new(),
            generate: None,
            mix: Mix::Unique,
            unique: 1.0,
            exponent: 1.0,
            bodies: 10_000,
        }
    }
}

/// One image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// Where it is.
    pub path: PathBuf,
    /// What a right answer says; without it, what the first answer said.
    #[serde(default)]
    pub label: Option<String>,
}

/// Photographs that nobody took.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Length of each, as near as quality can bring it.
    pub bytes: usize,
    /// How many.
    #[serde(default = "few")]
    pub count: usize,
    /// The same seed gives the same photographs.
    #[serde(default)]
    pub seed: u64,
}

fn few() -> usize {
    8
}

/// How often the same body comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// Never, or as often as `unique` leaves.
    Unique,
    /// Always: the images as they are, in turn.
    Repeated,
    /// By Zipf's law: a few bodies often, many seldom.
    Zipf,
}

impl Images {
    pub(super) fn relative_to(&mut self, base: &Path) {
        let paths = self.folder.iter_mut().chain(self.files.iter_mut().map(|file| &mut file.path));
        for path in paths {
            *path = base.join(&*path);
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.unique) {
            return Err("images.unique is a share from 0 to 1".into());
        }
        if !(0.0..=10.0).contains(&self.exponent) {
            return Err("images.exponent is from 0 to 10".into());
        }
        if self.bodies == 0 || self.bodies > 1_000_000 {
            return Err("images.bodies is from 1 to 1000000".into());
        }
        if let Some(generate) = &self.generate {
            let sides = 8..=10_000;
            if !sides.contains(&generate.width) || !sides.contains(&generate.height) {
                return Err("images.generate: sides are from 8 to 10000 pixels".into());
            }
            if generate.count == 0 || generate.count > 1000 {
                return Err("images.generate.count is from 1 to 1000".into());
            }
        }
        Ok(())
    }
}
