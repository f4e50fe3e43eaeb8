//! `shoal models push`: a version of a model into the object store, with a queue of its own. Tried out
//! first, unless told not to.

use std::path::Path;

use anyhow::{Context, ensure};
use shoal_nats::Bus;
use shoal_nats::bundles::{Bundle, BundleName, Bundles};
use shoal_nats::catalog::Catalog;
use shoal_shared::catalog::Pushed;
use shoal_shared::manifest::Manifest;
use shoal_shared::names::{ModelName, Version};
use shoal_worker::model::{MANIFEST, Model, ModelStore};

use super::add::try_out;

/// What is pushed.
#[derive(clap::Args)]
pub(super) struct What {
    /// Name of a model that is here, or a folder with manifest.toml
    model: String,
    /// Name to push it under; default: the manifest's
    #[arg(long)]
    name: Option<ModelName>,
    /// Name of the version; default: the next number
    #[arg(long)]
    version: Option<Version>,
    /// Without a trial run, where ONNX Runtime is not there
    #[arg(long)]
    untried: bool,
}

/// Pushes it, and says what became of it.
pub(super) async fn push(what: What, store: &ModelStore, bus: &Bus) -> anyhow::Result<()> {
    let model = read(&what.model, store)?;
    if !what.untried {
        try_out(&model.onnx, &model.manifest, model.labels.len())?;
    }
    let name = what.name.clone().unwrap_or_else(|| model.manifest.name.clone());
    let bundle = bundle(&model, &name)?;
    // The files come before the record: whoever reads of a version can fetch it.
    bus.ensure(std::slice::from_ref(&name)).await.context("preparing the queue")?;
    let (catalog, bundles) = (Catalog::open(bus).await?, Bundles::open(bus).await?);
    let before = catalog.read(&name).await?.unwrap_or_default();
    if what.version.is_none()
        && let Some((version, _)) = before.versions.iter().find(|(_, pushed)| pushed.digest == model.digest)
    {
        println!("{name} is there already, as version {version}: digest {}", model.digest);
        return Ok(());
    }
    let pushed = Pushed { digest: model.digest.clone(), bytes: bundle.bytes(), at: 0 };
    let version = before.clone().push(what.version, pushed.clone())?;
    let served = name.served(&version)?;
    if before.versions.contains_key(&version) {
        println!("{name} {version} is there already: digest {}", model.digest);
        return Ok(());
    }
    let is_taken = bus.provisioned_models().await?.contains(&served);
    ensure!(
        !is_taken,
        "version {version} of {name} would be served as `{served}`, and there is a model of that name: choose \
         another --version"
    );
    let bundle_name = BundleName::new(&served, &model.digest);
    bundles.put(&bundle_name, &bundle).await?;
    bus.ensure(std::slice::from_ref(&served)).await.context("preparing the version's queue")?;
    let entered =
        catalog.change(&name, |record, at| record.push(Some(version.clone()), Pushed { at, ..pushed.clone() }));
    let (_, record) = match entered.await {
        Ok(entered) => entered,
        Err(error) => {
            // Somebody else has this version: what was stored for it belongs to nobody.
            bundles.remove(&bundle_name).await;
            return Err(error.into());
        }
    };
    println!("pushed {name} {version}: {:.1} MB, digest {}", bundle.bytes() as f64 / 1e6, model.digest);
    match record.live.as_ref() == Some(&version) {
        true => println!("it answers as soon as a worker has it: it is the first version"),
        false => println!("let it answer: shoal models promote {name} {version}"),
    }
    Ok(())
}

/// From the folder, or from the local models.
fn read(model: &str, store: &ModelStore) -> anyhow::Result<Model> {
    let folder = Path::new(model);
    if folder.join(MANIFEST).exists() {
        return Ok(ModelStore::read_folder(folder)?);
    }
    let name: ModelName =
        model.parse().with_context(|| format!("{model} is no folder with {MANIFEST}, and no name"))?;
    Ok(store.load(&name)?)
}

fn bundle(model: &Model, name: &ModelName) -> anyhow::Result<Bundle> {
    let labels = (!model.labels.is_empty()).then(|| model.labels.join("\n").into_bytes());
    let manifest = Manifest {
        name: name.clone(),
        file: "model.onnx".into(),
        labels: labels.as_ref().map(|_| "labels.txt".into()),
        ..model.manifest.clone()
    };
    Ok(Bundle { manifest: toml::to_string_pretty(&manifest)?.into_bytes(), onnx: model.onnx.clone(), labels })
}
