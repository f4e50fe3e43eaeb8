//! What an operator may set, with the defaults in one place.

use std::time::Duration;

/// What the workers compute on: it decides where more workers stop helping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The host's cores, shared by all workers.
    Cpu,
    /// Graphics processors: one session per device is the ceiling.
    Gpu {
        /// How many there are.
        devices: usize,
    },
}

/// What becomes of the running workers' threads when the count of workers changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The cores are divided anew (`Decision::threads`): workers may be added up to one per core.
    Split,
    /// A session keeps what it has: no worker is added once workers x threads fill the cores.
    Fixed,
}

/// How the fleet of one model is scaled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Fewest workers. 0: an idle fleet is stopped altogether.
    pub min: usize,
    /// Most workers.
    pub max: usize,
    /// Part of the workers' time that arrivals may take, over 0 to 1. The rest absorbs chance.
    pub target_utilisation: f64,
    /// A backlog should be worked off within this, once the workers it needs are there.
    pub target_delay: Duration,
    /// Fewer workers only when the highest target of this time says so.
    pub stabilisation: Duration,
    /// Without a job for this long, a fleet with `min` 0 is stopped.
    pub idle_before_zero: Duration,
    /// A fraction of a worker this small (part of what is wanted) is left to the headroom: a load
    /// at the edge of a whole number of workers must not add one for noise.
    pub tolerance: f64,
    /// A heartbeat older than this says nothing.
    pub stale_heartbeat: Duration,
    /// How long a worker takes from order to ready until one was measured.
    pub assumed_startup: Duration,
    /// A worker added under a backlog must bring this part of what the others bring, or it goes.
    pub least_gain: f64,
    /// For how long a scale-up without gain is not tried again.
    pub remember: Duration,
    /// What workers compute on.
    pub device: Device,
    /// What becomes of threads when the count changes.
    pub threads: Threads,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min: 1,
            max: 8,
            target_utilisation: 0.75,
            target_delay: Duration::from_secs(2),
            stabilisation: Duration::from_secs(60),
            idle_before_zero: Duration::from_secs(300),
            tolerance: 0.05,
            stale_heartbeat: Duration::from_secs(5),
            assumed_startup: Duration::from_secs(5),
            least_gain: 0.05,
            remember: Duration::from_secs(600),
            device: Device::Cpu,
            threads: Threads::Split,
        }
    }
}

impl Settings {
    /// Every error names the key, the value and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let part = |key: &str, value: f64, most: f64| match value > 0.0 && value <= most {
            true => Ok(()),
            false => Err(format!("{key} = {value}: must be over 0 and at most {most}")),
        };
        if self.max == 0 || self.min > self.max {
            return Err(format!("min = {}, max = {}: max must be at least 1 and not under min", self.min, self.max));
        }
        part("target_utilisation", self.target_utilisation, 1.0)?;
        part("target_delay", self.target_delay.as_secs_f64(), 3600.0)?;
        part("stabilisation", self.stabilisation.as_secs_f64(), 86_400.0)?;
        if !(0.0..=0.2).contains(&self.tolerance) {
            return Err(format!("tolerance = {}: must be from 0 to 0.2", self.tolerance));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(Settings::default().check(), Ok(()));
        let wrong = |settings: Settings| settings.check().unwrap_err();
        assert!(wrong(Settings { min: 9, ..Settings::default() }).contains("min = 9"));
        assert!(wrong(Settings { target_utilisation: f64::NAN, ..Settings::default() }).contains("NaN"));
    }
}
