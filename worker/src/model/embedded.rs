//! The model that is always there: a digit classifier trained by a script in this repository.

use shoal_shared::names::ModelName;

/// Files of an embedded model.
pub struct Embedded {
    /// `manifest.toml`.
    pub manifest: &'static str,
    /// The ONNX file.
    pub onnx: &'static [u8],
    /// The labels file.
    pub labels: &'static str,
}

/// Handwritten digits, 8x8; see `worker/models/digits/README.md`.
pub const DIGITS: Embedded = Embedded {
    manifest: include_str!("../../models/digits/manifest.toml"),
    onnx: include_bytes!("../../models/digits/digits.onnx"),
    labels: include_str!("../../models/digits/labels.txt"),
};

/// Name of the embedded model.
pub fn default_model() -> ModelName {
    #[expect(clippy::expect_used, reason = "a literal of the allowed characters")]
    "digits".parse().expect("a valid name")
}
