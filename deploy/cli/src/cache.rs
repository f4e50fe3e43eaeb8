//! `shoal cache`: what is cached, and forgetting it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use shoal_nats::Bus;
use shoal_nats::catalog::Catalog;
use shoal_nats::presence::Fleet;
use shoal_shared::names::ModelName;
use shoal_shared::process::shutdown::Shutdown;

use crate::connect::NatsOptions;

/// `shoal cache`
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    nats: NatsOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What the shared cache and every gateway's memory hold
    Stats,
    /// Forget cached predictions, in the shared cache and in every gateway
    Purge {
        /// Only those of this model, as its workers serve it now
        #[arg(long)]
        model: Option<ModelName>,
    },
}

/// How long workers have to report which digest they serve.
const ROLL_CALL: Duration = Duration::from_secs(2);

/// Runs the subcommand.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let bus = options.nats.connect("shoal-cache").await?;
    match options.command {
        Command::Stats => stats(&bus).await,
        Command::Purge { model } => purge(&bus, model).await,
    }
}

async fn stats(bus: &Bus) -> anyhow::Result<()> {
    let shared = bus.cache_stats().await?;
    println!("shared cache: {} predictions, {} bytes", shared.entries, shared.bytes);
    for memory in bus.memory_stats().await? {
        let [hit, shared, coalesced, miss] = memory.answered;
        println!(
            "{}: {} predictions, {} bytes; answered {hit} hit, {shared} shared, {coalesced} coalesced, {miss} miss",
            memory.gateway, memory.entries, memory.bytes
        );
    }
    Ok(())
}

async fn purge(bus: &Bus, model: Option<ModelName>) -> anyhow::Result<()> {
    let versions = match &model {
        Some(name) => Catalog::open(bus).await?.read(name).await?.map(|record| record.versions).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    if !versions.is_empty() {
        let mut purged = 0;
        for pushed in versions.values() {
            purged += bus.purge_cache(Some(&pushed.digest)).await?;
        }
        println!(
            "forgot {purged} predictions of {} versions in the shared cache, and told every gateway",
            versions.len()
        );
        return Ok(());
    }
    let digest = match &model {
        None => None,
        Some(name) => {
            let shutdown = Shutdown::new();
            let fleet = Fleet::watch(bus, &shutdown).await?;
            let known = async {
                loop {
                    if let Some(model) = fleet.model(name) {
                        return model.digest;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let known = tokio::time::timeout(ROLL_CALL, known).await;
            Some(known.with_context(|| format!("no worker serves `{name}`, so its digest is not known"))?)
        }
    };
    let purged = bus.purge_cache(digest.as_ref()).await?;
    println!("forgot {purged} predictions in the shared cache, and told every gateway");
    Ok(())
}
