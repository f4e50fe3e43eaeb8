//! `shoal provision`: the topology, applied to a server of your own.

use std::time::Duration;

use anyhow::Context;
use shoal_nats::topology::TopologyConfig;
use shoal_nats::{Bus, BusConfig};
use shoal_shared::names::ModelName;

/// `shoal provision`
#[derive(clap::Args)]
pub struct Options {
    /// Models whose jobs are to be accepted
    #[arg(long = "model", required = true)]
    models: Vec<ModelName>,
    /// NATS server addresses, comma separated
    #[arg(long, env = "SHOAL_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats_url: String,
    /// Copies of every stream: 1 on one server, 3 on a cluster
    #[arg(long, default_value_t = 1)]
    replicas: usize,
}

/// Applies the topology; running it again changes nothing.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let topology = TopologyConfig { replicas: options.replicas, ..TopologyConfig::default() };
    let config = BusConfig { url: options.nats_url, topology, ..BusConfig::default() };
    let bus = Bus::connect(&config, "shoal-provision", Duration::from_secs(5)).await?;
    bus.ensure(&options.models).await.context("provisioning")?;
    let names: Vec<&str> = options.models.iter().map(ModelName::as_str).collect();
    println!("ready at {}: jobs for {}", bus.url(), names.join(", "));
    Ok(())
}
