//! A worker's configuration: table `[worker]`, environment `SHOAL_WORKER_*`, flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use shoal_nats::BusConfig;
use shoal_scaling::Settings;
use shoal_shared::config::ConfigError;
use shoal_shared::names::ModelName;
use shoal_shared::process::{available_cores, memory};
use shoal_shared::sniff::ImageLimits;

use crate::model::Device;

/// Most models that one worker is told to serve.
const MAX_MODELS: usize = 32;

/// Everything an operator may choose about a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// The bus.
    pub nats: BusConfig,
    /// The model to serve.
    pub model: ModelName,
    /// Several models to serve, instead of `model`: each is loaded when it is asked for, as far as
    /// `memory_budget` allows.
    pub models: Vec<ModelName>,
    /// Those of `models` that stay loaded, asked for or not.
    pub pinned: Vec<ModelName>,
    /// Bytes that models may take in memory, reckoned as each one's file once for each of its sessions;
    /// 0: half of this machine's memory.
    pub memory_budget: u64,
    /// Folder with models.
    pub models_dir: PathBuf,
    /// Where sessions run: `auto`, `cpu`, `cuda`, `tensorrt`.
    pub device: Device,
    /// Threads of the session; 0: all cores this process may use.
    pub threads: usize,
    /// Decode threads; 0: as many as `threads`.
    pub decode_threads: usize,
    /// Most images in one run of the session; 0: as the manifest says.
    pub max_batch: usize,
    /// Longest wait for a batch to fill. Under load batches fill by themselves.
    #[serde(with = "humantime_serde")]
    pub max_delay: Duration,
    /// Images in a row that the session may fail before the worker counts as broken and leaves.
    pub max_failures: u32,
    /// Bounds on images.
    pub limits: ImageLimits,
    /// Address of the admin server (`/metrics`, `/healthz`, `/readyz`); port 0 takes a free one.
    pub admin: String,
    /// Where spans are sent, as in `http://127.0.0.1:4318`; default: nowhere.
    pub otlp_endpoint: Option<String>,
    /// How long to look for NATS and the streams at start.
    #[serde(with = "humantime_serde")]
    pub startup_patience: Duration,
    /// How long a drain may take.
    #[serde(with = "humantime_serde")]
    pub drain_grace: Duration,
    /// How many workers a supervisor runs.
    pub scaling: ScalingConfig,
}

/// How many workers, and how that is decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingConfig {
    /// Fewest workers; 0: a fleet that nobody asks is stopped, and started at the first job.
    pub min: usize,
    /// Most workers, on all hosts together.
    pub max: usize,
    /// Part of the workers' time that arrivals may take; the rest absorbs chance.
    pub target_utilisation: f64,
    /// A backlog should be worked off within this.
    #[serde(with = "humantime_serde")]
    pub target_delay: Duration,
    /// Fewer workers only when they would have been enough for so long.
    #[serde(with = "humantime_serde")]
    pub stabilisation: Duration,
    /// Without a job for so long, a fleet with `min` 0 is stopped.
    #[serde(with = "humantime_serde")]
    pub idle_before_zero: Duration,
}

/// Most workers that a fleet may be told to have: each is a process.
const MOST_WORKERS: usize = 4096;

fn workers(text: &str) -> Result<usize, String> {
    let workers: usize = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    if workers > MOST_WORKERS { Err(format!("at most {MOST_WORKERS}")) } else { Ok(workers) }
}

/// How many workers, on a command line; overrides `[worker.scaling]`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Scale {
    /// Number of workers, always the same
    #[arg(long, value_parser = workers, conflicts_with_all = ["min", "max"])]
    workers: Option<usize>,
    /// Fewest workers: between this and --max the policy decides; 0 stops workers that nobody asks
    #[arg(long, value_parser = workers)]
    min: Option<usize>,
    /// Most workers, on all hosts together
    #[arg(long, value_parser = workers)]
    max: Option<usize>,
}

impl Scale {
    /// Takes the place of what is configured.
    pub fn apply(self, scaling: &mut ScalingConfig) {
        scaling.min = self.workers.or(self.min).unwrap_or(scaling.min);
        scaling.max = self.workers.or(self.max).unwrap_or(scaling.max.max(scaling.min));
    }
}

impl Default for ScalingConfig {
    fn default() -> Self {
        let Settings { target_utilisation, target_delay, stabilisation, idle_before_zero, .. } = Settings::default();
        Self { min: 1, max: 1, target_utilisation, target_delay, stabilisation, idle_before_zero }
    }
}

impl ScalingConfig {
    /// Holds the values against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.max > MOST_WORKERS {
            return Err(ConfigError::invalid("worker.scaling.max", self.max, &format!("at most {MOST_WORKERS}")));
        }
        self.settings().check().map_err(|error| {
            let (key, rest) = error.split_once(" = ").unwrap_or(("", &error));
            ConfigError::invalid(&format!("worker.scaling.{key}"), rest, "see `[worker.scaling]`")
        })
    }

    /// For the policy.
    pub fn settings(&self) -> Settings {
        Settings {
            min: self.min,
            max: self.max,
            target_utilisation: self.target_utilisation,
            target_delay: self.target_delay,
            stabilisation: self.stabilisation,
            idle_before_zero: self.idle_before_zero,
            ..Settings::default()
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            nats: BusConfig::default(),
            // The embedded model's name is a valid name: checked by a test.
            model: crate::model::default_model(),
            models: Vec::new(),
            pinned: Vec::new(),
            memory_budget: 0,
            models_dir: ".shoal/models".into(),
            device: Device::Auto,
            threads: 0,
            decode_threads: 0,
            max_batch: 0,
            max_delay: Duration::ZERO,
            max_failures: 16,
            limits: ImageLimits::default(),
            admin: "127.0.0.1:0".into(),
            otlp_endpoint: None,
            startup_patience: Duration::from_secs(15),
            drain_grace: Duration::from_secs(30),
            scaling: ScalingConfig::default(),
        }
    }
}

impl WorkerConfig {
    /// Holds the values against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let most = 4 * available_cores().max(16);
        if self.threads > most {
            return Err(ConfigError::invalid("worker.threads", self.threads, &format!("0 to {most} on this machine")));
        }
        if let Some(stray) = self.pinned.iter().find(|pinned| !self.served_models().contains(pinned)) {
            return Err(ConfigError::invalid("worker.pinned", stray, "one of the models that are served"));
        }
        let twice = |(at, model)| self.models[..at].contains(model).then_some(model);
        if let Some(model) = self.models.iter().enumerate().find_map(twice) {
            return Err(ConfigError::invalid("worker.models", model, "each model once"));
        }
        if self.models.len() > MAX_MODELS {
            return Err(ConfigError::invalid("worker.models", self.models.len(), "at most 32 models"));
        }
        if self.max_delay > Duration::from_secs(1) {
            let shown = format!("{:?}", self.max_delay);
            return Err(ConfigError::invalid("worker.max_delay", shown, "at most 1s: it is paid by every request"));
        }
        Ok(())
    }

    /// Every model to serve, the first one first.
    pub fn served_models(&self) -> Vec<ModelName> {
        if self.models.is_empty() { vec![self.model.clone()] } else { self.models.clone() }
    }

    /// Bytes that models may take in memory.
    pub fn memory(&self) -> u64 {
        match self.memory_budget {
            0 => memory::total().map_or(u64::MAX, |total| total / 2),
            bytes => bytes,
        }
    }

    /// Threads of the session.
    pub fn session_threads(&self) -> usize {
        if self.threads == 0 { available_cores() } else { self.threads }
    }

    /// Threads that decode.
    pub fn decoders(&self) -> usize {
        if self.decode_threads == 0 { self.session_threads() } else { self.decode_threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_consistent() {
        WorkerConfig::default().check().unwrap();
    }

    #[test]
    fn a_delay_that_hurts_is_refused_by_name() {
        let config = WorkerConfig { max_delay: Duration::from_secs(5), ..WorkerConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("worker.max_delay"));
    }
}
