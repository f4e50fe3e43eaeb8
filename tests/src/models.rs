//! Models that tests bring along.

use std::path::Path;
use std::process::Command;

use crate::process::{binary, repository};

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
