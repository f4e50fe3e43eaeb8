//! How every subcommand that talks to NATS finds it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use shoal_nats::{Bus, BusConfig};
use shoal_shared::config;

/// Options about NATS.
#[derive(clap::Args, Debug, Clone)]
pub struct NatsOptions {
    /// Configuration file; table [nats]
    #[arg(long, env = "SHOAL_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// NATS server addresses, comma separated [default: nats://127.0.0.1:4222]
    #[arg(long, env = "SHOAL_NATS_URL", global = true)]
    pub nats_url: Option<String>,
}

#[derive(Serialize)]
struct Flags<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

impl NatsOptions {
    /// The effective configuration.
    pub fn load(&self) -> anyhow::Result<BusConfig> {
        Ok(config::load("nats", self.config.as_deref(), &Flags { url: self.nats_url.as_deref() })?)
    }

    /// Connects, as `name` in NATS's own listings.
    pub async fn connect(&self, name: &str) -> anyhow::Result<Bus> {
        Ok(Bus::connect(&self.load()?, name, Duration::from_secs(5)).await?)
    }
}
