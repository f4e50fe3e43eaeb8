//! Models on disk: a folder each, with `manifest.toml`, the ONNX file and labels.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use shoal_nats::bundles::BundleName;
use shoal_shared::manifest::{Manifest, ManifestError, parse_labels};
use shoal_shared::names::ModelName;
use shoal_shared::presence::ModelStatus;
use thiserror::Error;

use super::embedded::DIGITS;
use super::loaded::Model;

/// Name of the manifest in a model's folder.
pub const MANIFEST: &str = "manifest.toml";

/// Folder of versions that were fetched, below the models.
const PUSHED: &str = ".pushed";
/// Folder of models as this kind of machine computes them, below the models.
const OPTIMISED: &str = ".optimised";

/// Why a model cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No model of that name.
    #[error(
        "no model `{name}` in {dir}: `shoal models list` shows what is there, and what `shoal models pull` can fetch"
    )]
    Unknown {
        /// The name asked for.
        name: ModelName,
        /// Where was looked.
        dir: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest is not right.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The local folder of models; the embedded model is always among them.
#[derive(Debug, Clone)]
pub struct ModelStore {
    dir: PathBuf,
}

impl ModelStore {
    /// A store in `dir`, which need not exist yet.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where a model's files are.
    pub fn folder(&self, name: &ModelName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    /// Whether a model is there to be loaded.
    pub fn contains(&self, name: &ModelName) -> bool {
        is_embedded(name) || self.folder(name).join(MANIFEST).exists()
    }

    /// Every model's manifest, by name.
    pub fn list(&self) -> Result<Vec<Manifest>, StoreError> {
        let mut manifests = vec![Manifest::parse(DIGITS.manifest)?];
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(manifests) };
        for entry in entries.flatten() {
            let path = entry.path().join(MANIFEST);
            if path.exists() {
                manifests.push(Manifest::parse(&read_text(&path)?)?);
            }
        }
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(manifests)
    }

    /// The manifest of one model.
    pub fn manifest(&self, name: &ModelName) -> Result<Manifest, StoreError> {
        let path = self.folder(name).join(MANIFEST);
        if path.exists() {
            return Ok(Manifest::parse(&read_text(&path)?)?);
        }
        if is_embedded(name) {
            return Ok(Manifest::parse(DIGITS.manifest)?);
        }
        Err(StoreError::Unknown { name: name.clone(), dir: self.dir.clone() })
    }

    /// Reads a model into memory.
    pub fn load(&self, name: &ModelName) -> Result<Model, StoreError> {
        let folder = self.folder(name);
        if !folder.join(MANIFEST).exists() && is_embedded(name) {
            return Model::embedded(&DIGITS);
        }
        read_model(self.manifest(name)?, &folder)
    }

    /// Reads the model in a folder that is no store's.
    pub fn read_folder(folder: &Path) -> Result<Model, StoreError> {
        read_model(Manifest::parse(&read_text(&folder.join(MANIFEST))?)?, folder)
    }

    /// A model as far as its files tell: its digest is part of every cache key.
    pub fn describe(&self, name: &ModelName) -> Result<ModelStatus, StoreError> {
        let model = self.load(name)?;
        Ok(ModelStatus {
            max_batch: model.manifest.batch.max,
            classes: model.labels.len(),
            title: model.manifest.title.clone(),
            precision: model.manifest.precision,
            // The rest is known once a session has been built.
            ..ModelStatus::outline(model.manifest.name, model.digest)
        })
    }

    /// Bytes of a model's ONNX file; 0 when it cannot be told.
    pub fn bytes(&self, name: &ModelName) -> u64 {
        let folder = self.folder(name);
        if !folder.join(MANIFEST).exists() && is_embedded(name) {
            return DIGITS.onnx.len() as u64;
        }
        let file = self.manifest(name).ok().and_then(|manifest| fs::metadata(folder.join(manifest.file)).ok());
        file.map_or(0, |file| file.len())
    }

    /// Whether the files of a pushed version are here.
    pub fn has_pushed(&self, name: &BundleName) -> bool {
        self.pushed_folder(name).join(MANIFEST).exists()
    }

    /// Reads a pushed version into memory, under the name it is served by.
    pub fn load_pushed(&self, served: &ModelName, name: &BundleName) -> Result<Model, StoreError> {
        let folder = self.pushed_folder(name);
        let manifest = Manifest::parse(&read_text(&folder.join(MANIFEST))?)?;
        read_model(Manifest { name: served.clone(), ..manifest }, &folder)
    }

    /// Writes the files of a pushed version: all of them, or none.
    pub fn add_pushed(&self, name: &BundleName, manifest: &[u8], files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let folder = self.pushed_folder(name);
        let partial = folder.with_extension(format!("partial-{}", std::process::id()));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        fs::create_dir_all(&partial).map_err(failed(&partial))?;
        for (name, bytes) in files.iter().copied().chain([(MANIFEST, manifest)]) {
            write(&partial.join(name), bytes)?;
        }
        let renamed = fs::rename(&partial, &folder);
        if renamed.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        // Another worker of this host may have been faster.
        if folder.join(MANIFEST).exists() { Ok(()) } else { renamed.map_err(failed(&folder)) }
    }

    /// Removes the files of pushed versions that are not in `known`.
    pub fn forget_pushed_except(&self, known: &BTreeSet<BundleName>) {
        let Ok(entries) = fs::read_dir(self.dir.join(PUSHED)) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if known.iter().all(|known| known.as_str() != name) && !name.contains(".partial-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Where a pushed version's files are.
    pub fn pushed_folder(&self, name: &BundleName) -> PathBuf {
        self.dir.join(PUSHED).join(name.as_str())
    }

    /// Where models are kept as this kind of machine computes them.
    pub fn optimised_folder(&self) -> PathBuf {
        self.dir.join(OPTIMISED)
    }

    /// Folders of every version of a model that was fetched, and of the model itself.
    pub fn folders(&self, name: &ModelName) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join(PUSHED)).into_iter().flatten().flatten();
        // Versions are named by the model's name, the version and the digest.
        let is_its =
            |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name.as_str()));
        entries.map(|entry| entry.path()).filter(is_its).chain([self.folder(name)]).collect()
    }

    /// Writes a model's manifest anew.
    pub fn rewrite(&self, manifest: &Manifest) -> Result<(), StoreError> {
        write(
            &self.folder(&manifest.name).join(MANIFEST),
            toml::to_string_pretty(manifest).unwrap_or_default().as_bytes(),
        )
    }

    /// Writes a model's files; the manifest last, so that a model is whole or not there.
    pub fn add(&self, manifest: &Manifest, files: &[(&str, &[u8])]) -> Result<PathBuf, StoreError> {
        let folder = self.folder(&manifest.name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        for (name, bytes) in files {
            write(&folder.join(name), bytes)?;
        }
        let text = toml::to_string_pretty(manifest).unwrap_or_default();
        write(&folder.join(MANIFEST), text.as_bytes())?;
        Ok(folder)
    }
}

fn read_model(manifest: Manifest, folder: &Path) -> Result<Model, StoreError> {
    let labels = match &manifest.labels {
        Some(file) => parse_labels(&read_text(&folder.join(file))?),
        None => Vec::new(),
    };
    let path = folder.join(&manifest.file);
    let onnx = fs::read(&path).map_err(|source| StoreError::File { path, source })?;
    Ok(Model::new(manifest, labels, onnx))
}

fn is_embedded(name: &ModelName) -> bool {
    name.as_str() == "digits"
}

fn read_text(path: &Path) -> Result<String, StoreError> {
    fs::read_to_string(path).map_err(|source| StoreError::File { path: path.to_owned(), source })
}

/// Under another name first: a reader never sees half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let partial = path.with_extension("partial");
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| StoreError::File { path: path.to_owned(), source })
}
