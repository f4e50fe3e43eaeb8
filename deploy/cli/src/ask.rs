//! Asking a gateway how things are.

use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;

/// How long a gateway may take to tell what it knows already.
const PATIENCE: Duration = Duration::from_secs(3);
/// More than the status of a thousand workers.
const LONGEST: u64 = 8 << 20;

/// A gateway, by its address.
#[derive(clap::Args, Debug, Clone)]
pub struct Gateway {
    /// Address of the gateway
    #[arg(long, env = "SHOAL_URL", default_value = "http://127.0.0.1:8000")]
    pub url: String,
}

impl Gateway {
    /// Reads a JSON answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let asking = ureq::get(&url).config().timeout_global(Some(PATIENCE)).build();
        let answer = asking.call().with_context(|| format!("asking {url} (name the gateway with --url)"))?;
        let mut body = String::new();
        answer.into_body().into_reader().take(LONGEST).read_to_string(&mut body)?;
        serde_json::from_str(&body).with_context(|| format!("{url} did not answer as a gateway of this release does"))
    }
}
