//! `shoal models promote, canary, shadow, rollback, remove`: which version answers. Gateways and workers
//! follow the record; nothing is restarted.

use anyhow::Context;
use shoal_nats::Bus;
use shoal_nats::bundles::{BundleName, Bundles};
use shoal_nats::catalog::Catalog;
use shoal_shared::catalog::{CatalogError, CatalogRecord, Share};
use shoal_shared::names::{ModelName, Version};

/// A share of the images for a version, or its end.
#[derive(clap::Args)]
pub(super) struct Beside {
    /// The model
    name: ModelName,
    /// The version, or `off`
    version: String,
    /// Of a hundred images
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    percent: Option<u8>,
}

impl Beside {
    fn share(&self) -> anyhow::Result<Option<Share>> {
        if self.version == "off" {
            return Ok(None);
        }
        let percent =
            self.percent.with_context(|| format!("how many of a hundred images? as in `{} 10`", self.version))?;
        Ok(Some(Share { version: self.version.parse()?, percent }))
    }
}

/// The version answers.
pub(super) async fn promote(name: &ModelName, version: &Version, bus: &Bus) -> anyhow::Result<()> {
    let record = change(name, bus, |record, at| record.promote(version, at)).await?;
    let before = record.previous.as_ref().map(|before| format!("; until then {before} does")).unwrap_or_default();
    println!("{name}: {version} answers as soon as a worker has it{before}");
    Ok(())
}

/// A version answers a part of the images.
pub(super) async fn canary(beside: &Beside, bus: &Bus) -> anyhow::Result<()> {
    let share = beside.share()?;
    change(&beside.name, bus, |record, at| record.set_canary(share.clone(), at)).await?;
    match share {
        Some(share) => println!("{}: canary {share} of the images, as soon as a worker has it", beside.name),
        None => println!("{}: no canary", beside.name),
    }
    Ok(())
}

/// A version is asked beside the live one.
pub(super) async fn shadow(beside: &Beside, bus: &Bus) -> anyhow::Result<()> {
    let share = beside.share()?;
    change(&beside.name, bus, |record, at| record.set_shadow(share.clone(), at)).await?;
    match share {
        Some(share) => println!("{}: shadow {share} of the images; GET /models/{} compares", beside.name, beside.name),
        None => println!("{}: no shadow", beside.name),
    }
    Ok(())
}

/// Back to the version before.
pub(super) async fn roll_back(name: &ModelName, bus: &Bus) -> anyhow::Result<()> {
    let record = change(name, bus, |record, at| record.roll_back("a person's word", at)).await?;
    println!("{name}: back to {}", record.live.map_or_else(String::new, String::from));
    Ok(())
}

/// Forgets a version: its files, its queue with what waits in it.
pub(super) async fn remove(name: &ModelName, version: &Version, bus: &Bus) -> anyhow::Result<()> {
    let catalog = Catalog::open(bus).await?;
    let before = catalog.read(name).await?.with_context(|| never_pushed(name))?;
    let digest = before.versions.get(version).map(|pushed| pushed.digest.clone());
    change(name, bus, |record, at| record.remove(version, at)).await?;
    let served = name.served(version)?;
    bus.retire(&served).await?;
    if let Some(digest) = digest {
        Bundles::open(bus).await?.remove(&BundleName::new(&served, &digest)).await;
    }
    println!("removed {name} {version}");
    Ok(())
}

async fn change(
    name: &ModelName,
    bus: &Bus,
    change: impl Fn(&mut CatalogRecord, u64) -> Result<(), CatalogError>,
) -> anyhow::Result<CatalogRecord> {
    let catalog = Catalog::open(bus).await?;
    // A change creates what is not there: a misspelled name must not.
    catalog.read(name).await?.with_context(|| never_pushed(name))?;
    Ok(catalog.change(name, change).await?.1)
}

pub(super) fn never_pushed(name: &ModelName) -> String {
    format!("`{name}` was never pushed: `shoal models push {name}`")
}
