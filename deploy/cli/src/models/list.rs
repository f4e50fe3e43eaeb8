//! `shoal models list` and `show`.

use shoal_shared::names::ModelName;
use shoal_worker::model::ModelStore;

use super::catalogue::CATALOGUE;

/// What is here, and what can be pulled.
pub(super) fn list(store: &ModelStore) -> anyhow::Result<()> {
    let here = store.list()?;
    println!("{:<20} {:<9} TITLE", "NAME", "WHERE");
    for manifest in &here {
        let place = if store.folder(&manifest.name).exists() { "here" } else { "embedded" };
        println!("{:<20} {:<9} {}", manifest.name, place, manifest.title);
    }
    for entry in CATALOGUE.iter().filter(|entry| here.iter().all(|manifest| manifest.name.as_str() != entry.name)) {
        let megabytes = entry.bytes as f64 / 1e6;
        let accuracy = entry.top1.map_or(String::new(), |top1| format!(", top-1 {top1} %"));
        println!("{:<20} {:<9} {} ({megabytes:.0} MB{accuracy})", entry.name, "catalogue", entry.title);
    }
    println!("\nfetch one: shoal models pull NAME");
    Ok(())
}

/// One model in full.
pub(super) fn show(name: &ModelName, store: &ModelStore) -> anyhow::Result<()> {
    let model = store.load(name)?;
    println!("# digest {}", model.digest);
    println!("# {} bytes, {} labels", model.onnx.len(), model.labels.len());
    print!("{}", toml::to_string_pretty(&model.manifest)?);
    Ok(())
}
