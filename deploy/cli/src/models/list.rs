//! `shoal models list` and `show`.

use shoal_shared::names::ModelName;
use shoal_shared::process::available_cores;
use shoal_worker::model::tuning::Profile;
use shoal_worker::model::{MANIFEST, Machine, Model, ModelStore};

use super::catalogue::CATALOGUE;

/// What is here, and what can be pulled.
pub(super) fn list(store: &ModelStore) -> anyhow::Result<()> {
    let here = store.list()?;
    println!("{:<20} {:<9} {:<9} TITLE", "NAME", "WHERE", "PRECISION");
    for manifest in &here {
        let place = if store.folder(&manifest.name).join(MANIFEST).exists() { "here" } else { "embedded" };
        println!("{:<20} {:<9} {:<9} {}", manifest.name, place, manifest.precision.as_str(), manifest.title);
    }
    for entry in CATALOGUE.iter().filter(|entry| here.iter().all(|manifest| manifest.name.as_str() != entry.name)) {
        let megabytes = entry.bytes as f64 / 1e6;
        let accuracy = entry.top1.map_or(String::new(), |top1| format!(", top-1 {top1} %"));
        println!("{:<20} {:<9} {:<9} {} ({megabytes:.0} MB{accuracy})", entry.name, "catalogue", "exact", entry.title);
    }
    println!("\nfetch one: shoal models pull NAME");
    Ok(())
}

/// One model in full.
pub(super) fn show(name: &ModelName, store: &ModelStore) -> anyhow::Result<()> {
    let model = store.load(name)?;
    println!("# digest {}", model.digest);
    println!("# {} bytes, {} labels", model.onnx.len(), model.labels.len());
    println!("# {}", profile(&model, store));
    print!("{}", toml::to_string_pretty(&model.manifest)?);
    Ok(())
}

/// Whether a worker with all cores of this machine finds a profile.
fn profile(model: &Model, store: &ModelStore) -> String {
    let path = Profile::path(&store.folder(&model.manifest.name), &Machine::this(available_cores()));
    match Profile::read(&path) {
        _ if !path.exists() => "no profile for this machine: sessions are measured at start (`shoal tune`)".into(),
        Ok(profile) if profile.digest != model.digest => format!("{}: of another digest, not used", path.display()),
        Ok(profile) => {
            let (choice, path) = (profile.choice, path.display());
            let load = choice.narrow.unwrap_or(choice.wide).of.engine;
            format!("profile {path}: {load}, {:.1} images/s", choice.speed())
        }
        Err(error) => error,
    }
}
