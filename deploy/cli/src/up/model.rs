//! Which model `shoal up` serves, and why.

use std::time::Duration;

use shoal_shared::names::ModelName;
use shoal_shared::say;
use shoal_worker::model::{ModelStore, default_model};

use crate::models::{catalogue, pull};

/// The catalogue's entry that `auto` prefers: the network of the systems replaced.
const PREFERRED: &str = "resnet50";

/// How long `auto` tries to reach the catalogue before it settles for the embedded model.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// A model and the reason for it.
pub(super) struct Chosen {
    pub(super) name: ModelName,
    pub(super) title: String,
    pub(super) why: String,
}

/// Resolves `--model`.
pub(super) fn choose(wish: &str, store: &ModelStore) -> anyhow::Result<Chosen> {
    if wish == "auto" {
        return auto(store);
    }
    let name: ModelName = wish.parse()?;
    if !store.contains(&name)
        && let Some(entry) = catalogue::find(&name)
    {
        say!("Model {name} is not here yet; fetching it.");
        pull::pull(entry, store, &pull::Settings::from_env())?;
    }
    let title = store.manifest(&name)?.title;
    Ok(Chosen { name, title, why: "as asked with --model".into() })
}

fn auto(store: &ModelStore) -> anyhow::Result<Chosen> {
    let preferred: ModelName = PREFERRED.parse()?;
    let chosen = |name: ModelName, why: String| {
        let title = store.manifest(&name)?.title;
        anyhow::Ok(Chosen { name, title, why })
    };
    if store.contains(&preferred) {
        return chosen(preferred, "it was pulled before".into());
    }
    let Some(entry) = catalogue::find(&preferred) else { return chosen(default_model(), "embedded".into()) };
    let settings = pull::Settings { connect_timeout: CONNECT_PATIENCE, attempts: 1, ..pull::Settings::from_env() };
    match pull::pull(entry, store, &settings) {
        Ok(()) => chosen(preferred, "fetched from the catalogue just now".into()),
        Err(_) => chosen(
            default_model(),
            format!("embedded; ResNet-50 could not be fetched: `shoal models pull {PREFERRED}` says why"),
        ),
    }
}
