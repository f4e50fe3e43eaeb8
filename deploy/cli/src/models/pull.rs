//! `shoal models pull`: a model of the catalogue, onto this machine.

use std::time::Duration;

use anyhow::Context;
use shoal_shared::names::ModelName;
use shoal_worker::model::ModelStore;

use super::catalogue::{self, CATALOGUE, Entry, IMAGENET_LABELS, ZOO};
use super::download::{Wanted, agent, fetch};

/// Replaces the model zoo by a mirror of the same layout.
const MIRROR_ENV: &str = "SHOAL_MODELS_MIRROR";

/// How to fetch.
pub struct Settings {
    /// The zoo or a mirror.
    pub base: String,
    /// Patience for a connection.
    pub connect_timeout: Duration,
    /// Tries; each goes on where the last broke off.
    pub attempts: u32,
}

impl Settings {
    /// The zoo, or the mirror named in the environment.
    pub fn from_env() -> Self {
        let base = std::env::var(MIRROR_ENV).unwrap_or_else(|_| ZOO.to_owned());
        Self { base, connect_timeout: Duration::from_secs(10), attempts: 5 }
    }
}

/// Pulls the catalogue's entry of that name.
pub fn by_name(name: &ModelName, store: &ModelStore) -> anyhow::Result<()> {
    let names = || CATALOGUE.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let entry = catalogue::find(name).with_context(|| format!("`{name}` is not in the catalogue: {}", names()))?;
    pull(entry, store, &Settings::from_env())?;
    println!("{name} is ready: {}", store.folder(name).display());
    Ok(())
}

/// Fetches, verifies, and adds to the store.
pub fn pull(entry: &Entry, store: &ModelStore, settings: &Settings) -> anyhow::Result<()> {
    let manifest = entry.manifest()?;
    let folder = store.folder(&manifest.name);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let url = entry.url(&settings.base);
    let wanted = Wanted { url: &url, bytes: entry.bytes, sha256: entry.sha256 };
    let agent = agent(settings.connect_timeout);
    let target = folder.join(&manifest.file);
    let mut attempt = 1;
    while let Err(error) = fetch(&agent, &wanted, &target, true) {
        if !error.is_transient() || attempt >= settings.attempts {
            return Err(error.into());
        }
        eprintln!("{error}; trying again");
        std::thread::sleep(Duration::from_millis(500) * attempt);
        attempt += 1;
    }
    store.add(&manifest, &[("labels.txt", IMAGENET_LABELS.as_bytes())])?;
    Ok(())
}
