//! A model in memory: manifest, labels, weights and the digest of all three.

use shoal_shared::digest::ModelDigest;
use shoal_shared::manifest::{Manifest, parse_labels};

use super::embedded::Embedded;
use super::store::StoreError;

/// Everything needed to build a session and to read its output.
pub struct Model {
    /// Processing, by data.
    pub manifest: Manifest,
    /// Labels by class index; empty when the model has none.
    pub labels: Vec<String>,
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// Identity of all of the above.
    pub digest: ModelDigest,
}

impl Model {
    /// Puts the parts together.
    pub fn new(manifest: Manifest, labels: Vec<String>, onnx: Vec<u8>) -> Self {
        let digest = ModelDigest::of(&onnx, &manifest, &labels);
        Self { manifest, labels, onnx, digest }
    }

    /// A model carried by the binary.
    pub fn embedded(files: &Embedded) -> Result<Self, StoreError> {
        let manifest = Manifest::parse(files.manifest)?;
        Ok(Self::new(manifest, parse_labels(files.labels), files.onnx.to_vec()))
    }

    /// Frees the file, once every session has been built from it.
    pub fn forget_weights(&mut self) {
        self.onnx = Vec::new();
    }

    /// The label of a class; its number when it has none.
    pub fn label(&self, index: usize) -> String {
        self.labels.get(index).filter(|label| !label.is_empty()).cloned().unwrap_or_else(|| format!("class {index}"))
    }
}
