//! `shoal models add`: any ONNX classifier with its manifest. It is loaded once, so that a
//! manifest that does not fit is refused here and not by the first user.

use std::path::Path;

use anyhow::Context;
use shoal_shared::manifest::{Manifest, parse_labels};
use shoal_worker::model::{Device, ModelSession, ModelStore, Runtime, Threads};

/// Checks and copies a model into the store.
pub(super) fn add(file: &Path, manifest: &Path, store: &ModelStore) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(manifest).with_context(|| manifest.display().to_string())?;
    let mut parsed = Manifest::parse(&text).with_context(|| manifest.display().to_string())?;
    let onnx = std::fs::read(file).with_context(|| file.display().to_string())?;
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut labels = Vec::new();
    if let Some(name) = &parsed.labels {
        let path = manifest.parent().unwrap_or(Path::new(".")).join(name);
        let content = std::fs::read(&path).with_context(|| format!("labels: {}", path.display()))?;
        labels = parse_labels(&String::from_utf8_lossy(&content));
        files.push(("labels.txt", content));
    }
    try_out(&onnx, &parsed, labels.len())?;
    parsed.file = "model.onnx".into();
    parsed.labels = parsed.labels.map(|_| "labels.txt".into());
    files.push(("model.onnx", onnx));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let folder = store.add(&parsed, &files)?;
    println!("added {} in {}", parsed.name, folder.display());
    println!("serve it: shoal up --model {}", parsed.name);
    Ok(())
}

pub(super) fn try_out(onnx: &[u8], manifest: &Manifest, labels: usize) -> anyhow::Result<()> {
    let runtime = Runtime::load(Device::Cpu)?;
    let session = runtime.session(onnx, Threads::ONE)?;
    let mut session = ModelSession::new(session, runtime.engine(), manifest, labels)?;
    let mut values = vec![0.0; session.input().row_len()];
    session.run(&mut values, 1).map_err(|error| anyhow::anyhow!("a trial run failed: {error}"))?;
    Ok(())
}
