//! A gateway's configuration: table `[gateway]`, environment `SHOAL_GATEWAY_*`, flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shoal_nats::BusConfig;
use shoal_shared::config::ConfigError;
use shoal_shared::digest::ImageSha256;
use shoal_shared::names::ModelName;
use shoal_shared::sniff::ImageLimits;

use crate::accounts::config::AuthConfig;
use crate::models::outcomes::Bound;

/// Everything an operator may choose about a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// The bus.
    pub nats: BusConfig,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Model used when a request names none; default: the only one, or the first by name.
    pub default_model: Option<ModelName>,
    /// Bounds on images.
    pub limits: ImageLimits,
    /// Images longer than this travel as objects, which workers read when a decode thread is near: as fast as in the
    /// job itself, and no more of them wait in a worker's memory than it decodes next.
    pub inline_bytes: usize,
    /// How long a request may take when it does not say.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Longest time a request may ask for.
    #[serde(with = "humantime_serde")]
    pub max_timeout: Duration,
    /// Predictions awaited at once; more are refused.
    pub max_in_flight: usize,
    /// Bytes of uploads held at once; more are refused.
    pub max_in_flight_bytes: usize,
    /// Bounds on requests with several images.
    pub batch: BatchConfig,
    /// Connections held open at once; more wait to be accepted.
    pub max_connections: usize,
    /// Who may have a larger or smaller share when it gets tight, by name.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// How long a client may take to send its headers, and keep an idle connection open.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a client may take to send its image.
    #[serde(with = "humantime_serde")]
    pub receive_timeout: Duration,
    /// Who may ask, and who may register.
    pub auth: AuthConfig,
    /// Certificate chain and key, PEM files; both: HTTPS instead of HTTP.
    pub tls_cert_file: Option<PathBuf>,
    /// The key of the certificate.
    pub tls_key_file: Option<PathBuf>,
    /// Web pages elsewhere that may ask, as in `https://app.example.com`; `*`: all.
    pub cors_origins: Vec<String>,
    /// Keep uploads for `GET /display/{name}`, and with the feedback that is given on them.
    pub keep_images: bool,
    /// Webhooks may call addresses that are not public. For tests and closed networks.
    pub webhooks_to_private_addresses: bool,
    /// Threads of the runtime; 0: all cores.
    pub threads: usize,
    /// The memory tier of the cache.
    pub cache: CacheConfig,
    /// How new versions of models are watched.
    pub rollout: RolloutConfig,
    /// Where spans are sent, as in `http://127.0.0.1:4318`; default: nowhere.
    pub otlp_endpoint: Option<String>,
    /// Part of the requests that are recorded, of those whose sender does not say; 0 to 1.
    pub trace_ratio: f64,
    /// How long to look for NATS and the streams at start.
    #[serde(with = "humantime_serde")]
    pub startup_patience: Duration,
    /// How long a drain may take.
    #[serde(with = "humantime_serde")]
    pub drain_grace: Duration,
}

/// Somebody who asks with a key of their own, in `X-API-Key` or as bearer token. Everybody else is
/// told apart by address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// SHA-256 of the key, in hex.
    pub key_sha256: String,
    /// Share in relation to others; 1 is what those without a key have.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// Bounds on requests with several images: `POST /predict/batch` and `infer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Most images in one request.
    pub max_items: usize,
    /// Images of one request that are predicted at once.
    pub concurrency: usize,
    /// Bytes of images that `POST /predict/batch` reads ahead.
    pub max_ahead_bytes: usize,
    /// Most bytes of an `infer` request, which is read whole.
    pub max_infer_bytes: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_items: 256, concurrency: 64, max_ahead_bytes: 64 << 20, max_infer_bytes: 64 << 20 }
    }
}

/// The memory tier of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Most bytes of predictions kept.
    pub max_bytes: u64,
    /// How long a prediction is kept.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// How long a prediction is kept that nobody asks for.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How long "not an image" is remembered; 0 turns it off.
    #[serde(with = "humantime_serde")]
    pub negative_ttl: Duration,
    /// How long a request may wait for the shared tier before it goes to the queue.
    #[serde(with = "humantime_serde")]
    pub shared_budget: Duration,
}

/// How new versions of models are watched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutConfig {
    /// Answers that count are so recent.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// With fewer answers nothing is withdrawn.
    pub min_answers: u64,
    /// The part of a version's answers that may be errors of its own.
    pub max_error_rate: f64,
    /// A promoted version is watched for so long, with the one before at hand.
    #[serde(with = "humantime_serde")]
    pub fresh_for: Duration,
    /// Images asked of shadows at once; beyond, they are left out.
    pub shadow_in_flight: usize,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            min_answers: 10,
            max_error_rate: 0.1,
            fresh_for: Duration::from_secs(600),
            shadow_in_flight: 8,
        }
    }
}

impl RolloutConfig {
    pub(crate) fn bound(&self) -> Bound {
        let Self { window, min_answers, max_error_rate, .. } = *self;
        Bound { window, min_answers, max_error_rate }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            nats: BusConfig::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            default_model: None,
            limits: ImageLimits::default(),
            inline_bytes: 1 << 20,
            timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(300),
            max_in_flight: 4096,
            max_in_flight_bytes: 512 << 20,
            batch: BatchConfig::default(),
            max_connections: 10_000,
            tenants: BTreeMap::new(),
            header_timeout: Duration::from_secs(60),
            receive_timeout: Duration::from_secs(30),
            auth: AuthConfig::default(),
            tls_cert_file: None,
            tls_key_file: None,
            cors_origins: Vec::new(),
            keep_images: false,
            webhooks_to_private_addresses: false,
            threads: 0,
            cache: CacheConfig::default(),
            rollout: RolloutConfig::default(),
            otlp_endpoint: None,
            trace_ratio: 1.0,
            startup_patience: Duration::from_secs(15),
            drain_grace: Duration::from_secs(30),
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            ttl: Duration::from_secs(24 * 3600),
            idle: Duration::from_secs(6 * 3600),
            negative_ttl: Duration::from_secs(10),
            shared_budget: Duration::from_millis(20),
        }
    }
}

impl GatewayConfig {
    /// Holds the values against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.inline_bytes == 0 || self.inline_bytes > shoal_nats::topology::MAX_MESSAGE as usize {
            let most = shoal_nats::topology::MAX_MESSAGE;
            return Err(ConfigError::invalid("gateway.inline_bytes", self.inline_bytes, &format!("1 to {most}")));
        }
        if self.timeout > self.max_timeout || self.timeout.is_zero() {
            let shown = format!("{:?}", self.timeout);
            return Err(ConfigError::invalid("gateway.timeout", shown, "more than 0 and at most gateway.max_timeout"));
        }
        if self.max_in_flight_bytes < self.limits.max_bytes {
            return Err(ConfigError::invalid(
                "gateway.max_in_flight_bytes",
                self.max_in_flight_bytes,
                "at least gateway.limits.max_bytes, so that the largest image fits",
            ));
        }
        for (key, value) in [("max_items", self.batch.max_items), ("concurrency", self.batch.concurrency)] {
            if value == 0 || value > 65_536 {
                return Err(ConfigError::invalid(&format!("gateway.batch.{key}"), value, "1 to 65536"));
            }
        }
        for (name, tenant) in &self.tenants {
            if ImageSha256::parse(&tenant.key_sha256).is_none() {
                let key = format!("gateway.tenants.{name}.key_sha256");
                return Err(ConfigError::invalid(&key, &tenant.key_sha256, "64 hexadecimal digits"));
            }
            if !tenant.weight.is_finite() || tenant.weight <= 0.0 {
                let key = format!("gateway.tenants.{name}.weight");
                return Err(ConfigError::invalid(&key, tenant.weight, "a positive number"));
            }
        }
        if !(0.0..=1.0).contains(&self.trace_ratio) {
            return Err(ConfigError::invalid("gateway.trace_ratio", self.trace_ratio, "0 to 1"));
        }
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            return Err(ConfigError::invalid(
                "gateway.tls_cert_file",
                "alone",
                "together with tls_key_file, or neither",
            ));
        }
        for origin in &self.cors_origins {
            let is_origin = origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
            if origin != "*" && !is_origin {
                let expected = "`*`, or scheme and host as in https://app.example.com";
                return Err(ConfigError::invalid("gateway.cors_origins", origin, expected));
            }
        }
        self.auth.check()?;
        if !(0.0..1.0).contains(&self.rollout.max_error_rate) || self.rollout.min_answers == 0 {
            let RolloutConfig { min_answers, max_error_rate, .. } = self.rollout;
            let shown = format!("max_error_rate = {max_error_rate}, min_answers = {min_answers}");
            return Err(ConfigError::invalid("gateway.rollout", shown, "a rate of 0 to 1, and at least 1 answer"));
        }
        for (key, value) in [
            ("max_in_flight", self.max_in_flight),
            ("max_connections", self.max_connections),
            ("limits.max_bytes", self.limits.max_bytes),
        ] {
            if value == 0 {
                return Err(ConfigError::invalid(&format!("gateway.{key}"), value, "at least 1"));
            }
        }
        for (key, value) in [("header_timeout", self.header_timeout), ("receive_timeout", self.receive_timeout)] {
            if value.is_zero() {
                return Err(ConfigError::invalid(&format!("gateway.{key}"), "0s", "more than 0"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_consistent() {
        GatewayConfig::default().check().unwrap();
    }

    #[test]
    fn a_contradiction_is_named() {
        let config = GatewayConfig { max_in_flight_bytes: 1, ..GatewayConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("gateway.max_in_flight_bytes"));
    }
}
