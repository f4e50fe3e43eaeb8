//! A model's manifest: everything about preparing its input and reading its output, as data.
//!
//! Channel order, scale, mean and crop are the model's business, never code's. What the ONNX file
//! itself says (tensor names, element type, fixed sizes) may be left out here.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names::ModelName;

/// The manifest as written in `manifest.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name in subjects and URLs.
    pub name: ModelName,
    /// Short name for people.
    #[serde(default)]
    pub title: String,
    /// What it recognises and how well.
    #[serde(default)]
    pub description: String,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: String,
    /// Where the weights come from.
    #[serde(default)]
    pub source: String,
    /// ONNX file, relative to the manifest.
    pub file: String,
    /// Labels, one a line, relative to the manifest.
    #[serde(default)]
    pub labels: Option<String>,
    /// How labels of several words are written.
    #[serde(default)]
    pub label_style: LabelStyle,
    /// How close answers are to those of the file computed as it is written.
    #[serde(default, skip_serializing_if = "Exactness::is_exact")]
    pub precision: Exactness,
    /// From pixels to the input tensor.
    #[serde(default)]
    pub input: InputSpec,
    /// From the output tensor to probabilities.
    #[serde(default)]
    pub output: OutputSpec,
    /// Batching bounds.
    #[serde(default)]
    pub batch: BatchSpec,
}

/// How close answers are to those of the file computed as it is written. `shoal tune` looks for the fastest way
/// that keeps to it, and says by which bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// The same, but for the order of sums.
    #[default]
    Exact,
    /// Close: numbers of 16 bits inside, where the machine is faster with them.
    Fast,
}

impl Exactness {
    /// Whether it is [`Exactness::Exact`].
    pub fn is_exact(&self) -> bool {
        *self == Exactness::Exact
    }

    /// Word in manifests and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Exactness::Exact => "exact",
            Exactness::Fast => "fast",
        }
    }
}

/// How labels of several words are written: lists of the same classes differ in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelStyle {
    /// As in the file.
    #[default]
    AsIs,
    /// `Eskimo_dog`, as Keras writes them.
    Underscores,
    /// `Eskimo dog`.
    Spaces,
}

impl LabelStyle {
    /// A label in this style.
    pub fn apply(self, label: &str) -> String {
        match self {
            LabelStyle::AsIs => label.to_owned(),
            LabelStyle::Underscores => label.replace(' ', "_"),
            LabelStyle::Spaces => label.replace('_', " "),
        }
    }
}

/// How an image becomes the input tensor: `(pixel * scale - mean) / std` a channel, pixels 0–255.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSpec {
    /// Tensor name; default: the model's only input.
    pub name: Option<String>,
    /// Channel order.
    pub color: Color,
    /// Axis order; default: read from the model's shape where that is unambiguous.
    pub layout: Layout,
    /// Width in pixels; default: the model's fixed width.
    pub width: Option<u32>,
    /// Height in pixels; default: the model's fixed height.
    pub height: Option<u32>,
    /// How the image is brought to that size.
    pub resize: Resize,
    /// Length of the shorter side before the centre crop, for [`Resize::ShorterSide`].
    pub shorter_side: Option<u32>,
    /// Multiplied with the pixel value.
    pub scale: f32,
    /// Subtracted after scaling: one value, or one for each channel in the model's order.
    pub mean: Vec<f32>,
    /// Divided by at last: one value, or one for each channel in the model's order.
    pub std: Vec<f32>,
}

impl Default for InputSpec {
    fn default() -> Self {
        Self {
            name: None,
            color: Color::Rgb,
            layout: Layout::Nchw,
            width: None,
            height: None,
            resize: Resize::ShorterSide,
            shorter_side: None,
            scale: 1.0,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }
}

impl InputSpec {
    /// Mean and reciprocal standard deviation of every channel, in the model's channel order.
    pub fn normalisation(&self) -> Vec<(f32, f32)> {
        let at = |values: &[f32], channel: usize| values.get(channel).or(values.first()).copied();
        (0..self.color.channels())
            .map(|c| (at(&self.mean, c).unwrap_or(0.0), 1.0 / at(&self.std, c).unwrap_or(1.0)))
            .collect()
    }
}

/// Channel order of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luminance.
    Gray,
}

impl Color {
    /// Number of channels.
    pub fn channels(self) -> usize {
        match self {
            Color::Rgb | Color::Bgr => 3,
            Color::Gray => 1,
        }
    }
}

/// Axis order of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, row, column.
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// How an image is brought to the input size. All use antialiased bilinear filtering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Shorter side to `shorter_side`, then a centre crop: what ImageNet models are trained with.
    ShorterSide,
    /// Both sides to the input size, whatever the aspect ratio.
    Stretch,
    /// Longer side to the input size, the rest padded with black.
    Fit,
}

/// How the output tensor becomes probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSpec {
    /// Tensor name; default: the model's first output.
    pub name: Option<String>,
    /// What is applied to the raw values.
    pub activation: Activation,
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self { name: None, activation: Activation::Softmax }
    }
}

/// What is applied to the raw output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Nothing: the model already gives probabilities.
    None,
    /// Softmax: the model gives logits.
    Softmax,
}

/// Batching bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSpec {
    /// Most images in one run of the session.
    pub max: usize,
}

impl Default for BatchSpec {
    fn default() -> Self {
        Self { max: 8 }
    }
}

/// Largest batch that a manifest may ask for.
pub const MAX_BATCH: usize = 256;
/// Largest input side that a manifest may ask for.
pub const MAX_INPUT_SIDE: u32 = 4096;

/// Why a manifest is unusable; names the key, the value and what would be right.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not TOML, or a key is unknown or of the wrong type.
    #[error("manifest: {0}")]
    Syntax(toml::de::Error),
    /// A value is out of its range.
    #[error("manifest key `{key}` is {value}: {expected}")]
    Value {
        /// Dotted key.
        key: &'static str,
        /// The value found.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl Manifest {
    /// Reads and checks `manifest.toml`.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Manifest = toml::from_str(text).map_err(ManifestError::Syntax)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Holds every value against its range.
    pub fn check(&self) -> Result<(), ManifestError> {
        let input = &self.input;
        let channels = input.color.channels();
        require(self.batch.max >= 1 && self.batch.max <= MAX_BATCH, "batch.max", self.batch.max, "1 to 256")?;
        require(input.scale.is_finite() && input.scale > 0.0, "input.scale", input.scale, "a positive number")?;
        let per_channel = |values: &[f32]| values.len() == 1 || values.len() == channels;
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        require(
            per_channel(&input.mean) && finite(&input.mean),
            "input.mean",
            format!("{:?}", input.mean),
            "one number, or one for each channel",
        )?;
        require(
            per_channel(&input.std) && finite(&input.std) && input.std.iter().all(|&v| v > 0.0),
            "input.std",
            format!("{:?}", input.std),
            "one positive number, or one for each channel",
        )?;
        for (key, side) in [("input.width", input.width), ("input.height", input.height)] {
            let side = side.unwrap_or(1);
            require((1..=MAX_INPUT_SIDE).contains(&side), key, side, "1 to 4096")?;
        }
        for (key, path) in [("file", Some(&self.file)), ("labels", self.labels.as_ref())] {
            let inside = |path: &String| !path.is_empty() && !path.starts_with('/') && !path.contains("..");
            require(path.is_none_or(inside), key, format!("{path:?}"), "a file beside the manifest")?;
        }
        Ok(())
    }

    /// Bytes that change whenever the answer for the same image could.
    pub fn processing_fingerprint(&self) -> Vec<u8> {
        let mut text = format!("{:?}{:?}", self.input, self.output);
        // Exact ones have the digest that they had before there was a choice.
        if !self.precision.is_exact() {
            text.push_str(self.precision.as_str());
        }
        text.into_bytes()
    }
}

fn require(holds: bool, key: &'static str, value: impl ToString, expected: &'static str) -> Result<(), ManifestError> {
    if holds { Ok(()) } else { Err(ManifestError::Value { key, value: value.to_string(), expected }) }
}

/// Labels as lines; blank lines at the end are dropped.
pub fn parse_labels(text: &str) -> Vec<String> {
    text.trim_end().lines().map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "name = \"m\"\nfile = \"m.onnx\"\n";

    #[test]
    fn a_minimal_manifest_gets_the_usual_imagenet_defaults() {
        let manifest = Manifest::parse(MINIMAL).unwrap();
        assert_eq!(manifest.input.resize, Resize::ShorterSide);
        assert_eq!(manifest.output.activation, Activation::Softmax);
        assert_eq!(manifest.input.normalisation(), vec![(0.0, 1.0); 3]);
    }

    #[test]
    fn errors_name_key_value_and_what_is_right() {
        let wrong = format!("{MINIMAL}[input]\nmean = [1.0, 2.0]\n");
        let error = Manifest::parse(&wrong).unwrap_err().to_string();
        assert!(error.contains("input.mean") && error.contains("[1.0, 2.0]"), "{error}");
        let unknown = format!("{MINIMAL}[input]\nmeen = [1.0]\n");
        assert!(Manifest::parse(&unknown).unwrap_err().to_string().contains("meen"));
        let outside = "name = \"m\"\nfile = \"../../etc/passwd\"\n";
        assert!(Manifest::parse(outside).is_err());
    }

    #[test]
    fn the_fingerprint_follows_processing_and_ignores_prose() {
        let plain = Manifest::parse(MINIMAL).unwrap();
        let described = Manifest { description: "words".into(), ..plain.clone() };
        assert_eq!(plain.processing_fingerprint(), described.processing_fingerprint());
        let fast = Manifest { precision: Exactness::Fast, ..plain.clone() };
        assert_ne!(plain.processing_fingerprint(), fast.processing_fingerprint());
        let scaled = Manifest { input: InputSpec { scale: 0.5, ..plain.input.clone() }, ..plain.clone() };
        assert_ne!(plain.processing_fingerprint(), scaled.processing_fingerprint());
    }

    #[test]
    fn labels_are_written_as_the_manifest_says() {
        let styled = format!("label_style = \"underscores\"\n{MINIMAL}");
        assert_eq!(Manifest::parse(&styled).unwrap().label_style.apply("Eskimo dog"), "Eskimo_dog");
        assert_eq!(LabelStyle::Spaces.apply("Eskimo_dog"), "Eskimo dog");
        assert_eq!(Manifest::parse(MINIMAL).unwrap().label_style.apply("a_b c"), "a_b c");
    }

    #[test]
    fn exact_is_what_nobody_has_to_write() {
        let plain = Manifest::parse(MINIMAL).unwrap();
        assert!(!toml::to_string(&plain).unwrap().contains("precision"));
        let fast = Manifest::parse(&format!("precision = \"fast\"\n{MINIMAL}")).unwrap();
        assert_eq!(fast.precision, Exactness::Fast);
        assert_eq!(Manifest::parse(&toml::to_string(&fast).unwrap()).unwrap(), fast);
        assert!(Manifest::parse(&format!("precision = \"int4\"\n{MINIMAL}")).is_err());
    }

    #[test]
    fn labels_keep_their_line_numbers() {
        assert_eq!(parse_labels("tench\n goldfish \n\n"), ["tench", "goldfish"]);
    }
}
