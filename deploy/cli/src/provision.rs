//! `shoal provision`: the topology, applied to a server of your own.

use std::time::Duration;

use anyhow::Context;
use shoal_nats::Bus;
use shoal_shared::names::ModelName;

use crate::connect::NatsOptions;

/// `shoal provision`
#[derive(clap::Args)]
pub struct Options {
    /// Models whose jobs are to be accepted
    #[arg(long = "model", required = true)]
    models: Vec<ModelName>,
    #[command(flatten)]
    nats: NatsOptions,
    /// Copies of every stream: 1 on one server, 3 on a cluster
    #[arg(long)]
    replicas: Option<usize>,
}

/// Applies the topology; running it again changes nothing.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut config = options.nats.load()?;
    if let Some(replicas) = options.replicas {
        config.topology.replicas = replicas;
    }
    let bus = Bus::connect(&config, "shoal-provision", Duration::from_secs(5)).await?;
    bus.ensure(&options.models).await.context("provisioning")?;
    let names: Vec<&str> = options.models.iter().map(ModelName::as_str).collect();
    println!("ready at {}: jobs for {}", bus.url(), names.join(", "));
    Ok(())
}
