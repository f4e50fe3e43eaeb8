//! The catalogue: public ImageNet classifiers, each pinned by size and SHA-256.

use shoal_shared::manifest::{Activation, Color};
use shoal_shared::manifest::{BatchSpec, Exactness, InputSpec, LabelStyle, Layout, Manifest, OutputSpec, Resize};
use shoal_shared::names::ModelName;

/// One downloadable model.
#[derive(Debug, PartialEq)]
pub struct Entry {
    /// Name in Shoal.
    pub name: &'static str,
    /// Short name for people.
    pub title: &'static str,
    /// Path in the model zoo.
    path: &'static str,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: &'static str,
    /// Published top-1 accuracy on ImageNet, percent.
    pub top1: Option<f32>,
    processing: Processing,
}

/// How a family of models prepares its input.
#[derive(Debug, PartialEq)]
enum Processing {
    /// RGB, NCHW, /255, the usual mean and deviation, logits.
    Torch,
    /// RGB, NHWC, (x − 127) / 128, probabilities.
    EfficientNetLite,
}

/// Where the files are: the ONNX Model Zoo, Apache-2.0. `SHOAL_MODELS_MIRROR` replaces it.
pub const ZOO: &str = "https://media.githubusercontent.com/media/onnx/models/main/validated/vision/classification";

/// ImageNet's 1,000 class names in readable form, as listed by torchvision (BSD-3-Clause).
pub const IMAGENET_LABELS: &str = include_str!("imagenet-labels.txt");

macro_rules! entries {
    ($($name:literal, $title:literal, $path:literal, $bytes:literal, $sha256:literal, $top1:expr, $processing:ident;)*) => {
        /// Every model that can be pulled.
        pub const CATALOGUE: &[Entry] = &[$(Entry {
            name: $name, title: $title, path: $path, bytes: $bytes, sha256: $sha256, top1: $top1,
            processing: Processing::$processing,
        }),*];
    };
}

entries! {
    "resnet50", "ResNet-50 int8 (ImageNet)", "resnet/model/resnet50-v1-12-int8.onnx", 25_816_052,
        "c234f30975989788b4405f25253275aae247ab6dbdd34aaa69ab0a59ff76f6d0", Some(74.77), Torch;
    "resnet50-fp32", "ResNet-50 v1 (ImageNet)", "resnet/model/resnet50-v1-12.onnx", 102_576_593,
        "3f03fdef724b22947eed826f1eef1dc5c34151bb4c37d634f1db89dfa2dd1526", Some(74.97), Torch;
    "resnet50-qdq", "ResNet-50 int8 QDQ (ImageNet)", "resnet/model/resnet50-v1-12-qdq.onnx", 25_753_167,
        "e6429d274805654c79ba68dc886c1efd4eff95393e747c35d3fdab579febd8a0", Some(74.43), Torch;
    "resnet50-v2", "ResNet-50 v2 (ImageNet)", "resnet/model/resnet50-v2-7.onnx", 102_442_452,
        "79102261eb6e5fd7af5d27f41316293e388c5cb691e5d25bfb035c4f64fefe31", Some(75.81), Torch;
    "resnet18", "ResNet-18 (ImageNet)", "resnet/model/resnet18-v1-7.onnx", 46_820_737,
        "4e8f8653e7a2222b3904cc3fe8e304cd8b339ce1d05fd24688162f86fb6df52c", Some(69.93), Torch;
    "mobilenetv2", "MobileNet v2 (ImageNet)", "mobilenet/model/mobilenetv2-12.onnx", 13_964_571,
        "c0c3f76d93fa3fd6580652a45618618a220fced18babf65774ed169de0432ad5", None, Torch;
    "mobilenetv2-int8", "MobileNet v2 int8 (ImageNet)", "mobilenet/model/mobilenetv2-12-int8.onnx", 3_655_033,
        "cc028fe6cae7bc11a4ff53cfc9b79c920e8be65ce33a904ec3e2a8f66d77f95f", None, Torch;
    "squeezenet", "SqueezeNet 1.1 (ImageNet)", "squeezenet/model/squeezenet1.1-7.onnx", 4_956_208,
        "1eeff551a67ae8d565ca33b572fc4b66e3ef357b0eb2863bb9ff47a918cc4088", Some(56.34), Torch;
    "efficientnet-lite4", "EfficientNet-Lite4 (ImageNet)", "efficientnet-lite4/model/efficientnet-lite4-11.onnx", 51_946_641,
        "d111689907c06eea7c82e4833ddef758da6453b9d4cf60b7e99ca05c7cbd9c12", None, EfficientNetLite;
}

/// The entry of that name.
pub fn find(name: &ModelName) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name.as_str())
}

impl Entry {
    /// Where to fetch it from, with the zoo or a mirror of the same layout.
    pub fn url(&self, base: &str) -> String {
        format!("{}/{}", base.trim_end_matches('/'), self.path)
    }

    /// The manifest that goes with it.
    pub fn manifest(&self) -> Result<Manifest, shoal_shared::names::InvalidToken> {
        let (input, activation) = match self.processing {
            Processing::Torch => (torch_input(), Activation::Softmax),
            Processing::EfficientNetLite => (efficientnet_lite_input(), Activation::None),
        };
        let accuracy = self.top1.map_or(String::new(), |top1| format!(", published top-1 {top1} %"));
        Ok(Manifest {
            name: self.name.parse()?,
            title: self.title.into(),
            description: format!("Recognises the 1,000 classes of ImageNet{accuracy}."),
            licence: "Apache-2.0 (ONNX Model Zoo)".into(),
            source: self.url(ZOO),
            file: "model.onnx".into(),
            labels: Some("labels.txt".into()),
            label_style: LabelStyle::AsIs,
            precision: Exactness::Exact,
            input,
            output: OutputSpec { name: None, activation },
            batch: BatchSpec::default(),
        })
    }
}

fn torch_input() -> InputSpec {
    InputSpec {
        width: Some(224),
        height: Some(224),
        shorter_side: Some(256),
        scale: 1.0 / 255.0,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        ..InputSpec::default()
    }
}

fn efficientnet_lite_input() -> InputSpec {
    InputSpec {
        color: Color::Rgb,
        layout: Layout::Nhwc,
        resize: Resize::ShorterSide,
        width: Some(224),
        height: Some(224),
        shorter_side: Some(256),
        mean: vec![127.0],
        std: vec![128.0],
        ..InputSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_makes_a_sound_manifest() {
        for entry in CATALOGUE {
            entry.manifest().unwrap().check().unwrap();
            assert_eq!(hex::decode(entry.sha256).unwrap().len(), 32, "{}", entry.name);
        }
        assert_eq!(IMAGENET_LABELS.lines().count(), 1000);
    }
}
