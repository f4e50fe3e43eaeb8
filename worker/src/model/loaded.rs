//! A model in memory: manifest, labels, weights and the digest of all three.

use shoal_shared::digest::ModelDigest;
use shoal_shared::interned::Interned;
use shoal_shared::manifest::{Manifest, parse_labels};

use super::embedded::Embedded;
use super::optimised::Optimised;
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
    /// What its weights are.
    pub precision: Precision,
    /// The same, as sessions map it.
    pub optimised: Option<Optimised>,
}

/// What a model computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Floating point.
    Float,
    /// Integers of eight bits, for the most part.
    Int8,
}

impl Precision {
    /// Read from the graph: quantised ones name the operators that quantise.
    fn of(onnx: &[u8]) -> Self {
        let is_quantised = memchr::memmem::find(onnx, b"QuantizeLinear").is_some();
        if is_quantised { Precision::Int8 } else { Precision::Float }
    }

    /// Word in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::Float => "float",
            Precision::Int8 => "int8",
        }
    }

    /// Whether a quantised model would run faster here: this one is none, and the processor has
    /// instructions for such products.
    pub fn would_gain_from_int8(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let has_dot_products =
            std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni");
        #[cfg(target_arch = "aarch64")]
        let has_dot_products = std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let has_dot_products = false;
        self == Precision::Float && has_dot_products
    }
}

impl Model {
    /// Puts the parts together.
    pub fn new(manifest: Manifest, labels: Vec<String>, onnx: Vec<u8>) -> Self {
        let labels: Vec<String> = labels.iter().map(|label| manifest.label_style.apply(label)).collect();
        let digest = ModelDigest::of(&onnx, &manifest, &labels);
        let precision = Precision::of(&onnx);
        Self { manifest, labels, onnx, digest, precision, optimised: None }
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
    pub fn label(&self, index: usize) -> Interned {
        let label = self.labels.get(index).filter(|label| !label.is_empty());
        label.map_or_else(|| format!("class {index}").into(), |label| label.as_str().into())
    }
}
