//! `shoal models synth`: the true ResNet-50 graph with seeded random weights, for measurements.

use shoal_shared::manifest::{BatchSpec, Exactness, InputSpec, LabelStyle, Manifest, OutputSpec};
use shoal_synth::Precision;
use shoal_worker::model::ModelStore;

/// Writes the model into the store as `resnet50-synth` or `resnet50-synth-int8`.
pub(super) fn resnet50(int8: bool, seed: u64, store: &ModelStore) -> anyhow::Result<()> {
    let (name, precision) = match int8 {
        true => ("resnet50-synth-int8", Precision::Int8),
        false => ("resnet50-synth", Precision::Fp32),
    };
    let onnx = shoal_synth::resnet50(seed, precision).encode();
    let manifest = Manifest {
        name: name.parse()?,
        title: format!("ResNet-50 {}, random weights", if int8 { "int8" } else { "fp32" }),
        description: format!("Real cost, meaningless labels: random weights, seed {seed}. For measurements only."),
        licence: "MIT OR Apache-2.0".into(),
        source: format!("shoal models synth resnet50 --seed {seed}"),
        file: "model.onnx".into(),
        labels: None,
        label_style: LabelStyle::AsIs,
        precision: Exactness::Exact,
        input: InputSpec {
            width: Some(224),
            height: Some(224),
            shorter_side: Some(256),
            scale: 1.0 / 255.0,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            ..InputSpec::default()
        },
        output: OutputSpec::default(),
        batch: BatchSpec::default(),
    };
    let folder = store.add(&manifest, &[("model.onnx", &onnx)])?;
    println!(
        "{name}: {:.1} MB in {}. Its weights are random: real cost, meaningless labels.",
        onnx.len() as f64 / 1e6,
        folder.display()
    );
    Ok(())
}
