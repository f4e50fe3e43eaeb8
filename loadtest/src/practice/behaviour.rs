//! What a practice server does to its requests.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::scenario::Wait;

/// What a practice server does to `POST /predict` and `POST /model/predict`.
#[derive(Debug, Clone, Args)]
pub struct Behaviour {
    /// Time that each takes: 100ms, evenly from 50ms-150ms, or exp:100ms
    #[arg(long, default_value = "0s")]
    pub delay: Delay,
    /// How long it stands still, everything at once
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub stall: Duration,
    /// How often it does
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub stall_every: Duration,
    /// Share that is answered with 500
    #[arg(long, default_value_t = 0.0)]
    pub errors: f64,
    /// Share that is answered with another image's label
    #[arg(long, default_value_t = 0.0)]
    pub mix_up: f64,
    /// Requests that are computed at once; the others wait
    #[arg(long)]
    pub slots: Option<usize>,
    /// With more than so many inside: 429 and Retry-After
    #[arg(long)]
    pub refuse_above: Option<usize>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            delay: Delay::Even(Wait::default()),
            stall: Duration::ZERO,
            stall_every: Duration::from_secs(10),
            errors: 0.0,
            mix_up: 0.0,
            slots: None,
            refuse_above: None,
        }
    }
}

/// A distribution of delays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// Evenly from a range, or always the same.
    Even(Wait),
    /// Exponentially, with this mean.
    Exponential(Duration),
}

/// Longest exponential delay, in means: the far tail would outlast any test.
const LONGEST: f64 = 12.0;

impl Delay {
    /// One delay, for a number drawn evenly from 0 to 1.
    pub fn draw(&self, even: f64) -> Duration {
        match self {
            Delay::Even(range) => range.least + (range.most - range.least).mul_f64(even),
            Delay::Exponential(mean) => mean.mul_f64((-(1.0 - even).max(f64::MIN_POSITIVE).ln()).min(LONGEST)),
        }
    }
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("exp:") {
            Some(mean) => humantime::parse_duration(mean).map(Delay::Exponential).map_err(|error| error.to_string()),
            None => text.parse().map(Delay::Even),
        }
    }
}
