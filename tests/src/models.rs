//! Models that tests bring along.

use std::path::Path;
use std::process::Command;

use crate::process::{binary, repository};

const SQUEEZENET: &str = r#"
name = "squeezenet"
title = "SqueezeNet (ImageNet)"
file = "squeezenet.onnx"
labels = "imagenet-labels.txt"

[input]
color = "bgr"
resize = "shorter-side"
shorter_side = 256
width = 224
height = 224
mean = [104.0, 117.0, 123.0]

[output]
activation = "none"
"#;

/// Adds the model that tells dark from bright, kills its process on white and fails on grey 128.
pub fn add_brittle(dir: &Path) {
    let source = repository().join("tests/models");
    let mut command = Command::new(binary("shoal"));
    command.args(["models", "add"]).arg(source.join("brittle.onnx"));
    command.arg("--manifest").arg(source.join("brittle.toml")).arg("--models-dir").arg(dir);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Adds ResNet-50 with made-up weights: as slow as the real one. Gives its name.
pub fn add_resnet50(dir: &Path, int8: bool) -> String {
    let mut command = Command::new(binary("shoal"));
    command.args(["models", "synth", "resnet50", "--models-dir"]).arg(dir).args(int8.then_some("--int8"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if int8 { "resnet50-synth-int8" } else { "resnet50-synth" }.to_owned()
}

/// Writes the digit model with other labels into a folder: the same computation, another version. Gives the
/// folder.
pub fn relabelled_digits(dir: &Path, labels: [&str; 10]) -> String {
    let source = repository().join("worker/models/digits");
    let folder = dir.join(labels[0]);
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["digits.onnx", "manifest.toml"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    std::fs::write(folder.join("labels.txt"), labels.join("\n")).unwrap();
    folder.to_str().unwrap().to_owned()
}

/// Writes a model whose session fails on every image, though it loads and warms up: the brittle one, with a
/// manifest that makes every picture the grey that it cannot bear. Gives the folder.
pub fn failing(dir: &Path) -> String {
    let source = repository().join("tests/models");
    let folder = dir.join("failing");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["brittle.onnx", "brittle.labels.txt"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let manifest = std::fs::read_to_string(source.join("brittle.toml")).unwrap();
    let grey = manifest.replace("scale = 1.0", "scale = 1e-9\nmean = [-128.0]");
    assert_ne!(grey, manifest);
    std::fs::write(folder.join("manifest.toml"), grey).unwrap();
    folder.to_str().unwrap().to_owned()
}

/// Adds SqueezeNet with its real weights, from the folder of test data beside the project.
pub fn add_squeezenet(data: &Path, models: &Path) {
    std::fs::create_dir_all(models).unwrap();
    for file in ["squeezenet.onnx", "imagenet-labels.txt"] {
        std::fs::copy(data.join(file), models.join(file)).unwrap();
    }
    let manifest = models.join("squeezenet.toml");
    std::fs::write(&manifest, SQUEEZENET).unwrap();
    let added = Command::new(binary("shoal"))
        .args(["models", "add"])
        .arg(models.join("squeezenet.onnx"))
        .arg("--manifest")
        .arg(&manifest)
        .arg("--models-dir")
        .arg(models)
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
}
