//! One stretch of a run: so many users, or so many arrivals a second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One stretch of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What it is called; by default what it does.
    #[serde(default)]
    pub name: Option<String>,
    /// How long.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// Users at its end.
    #[serde(default)]
    pub users: Option<usize>,
    /// Users that come, or go, in a second; without it all at once.
    #[serde(default)]
    pub spawn: Option<f64>,
    /// Arrivals a second at its beginning.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Arrivals a second at its end; by default the same.
    #[serde(default)]
    pub to: Option<f64>,
}

/// What a phase asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// The closed loop: users at the end, and how many come in a second.
    Users(usize, f64),
    /// The open loop: arrivals a second, from and to.
    Rate(f64, f64),
}

/// Shortest phase.
const SHORTEST: Duration = Duration::from_millis(100);
/// Most users or arrivals a second.
const MOST: f64 = 1e6;

impl Phase {
    /// Arrivals at one rate.
    pub fn at_rate(rate: f64, duration: Duration) -> Self {
        Self { name: None, duration, users: None, spawn: None, rate: Some(rate), to: None }
    }

    /// Users that are all there at once.
    pub fn with_users(users: usize, duration: Duration) -> Self {
        Self { name: None, duration, users: Some(users), spawn: None, rate: None, to: None }
    }

    /// What it asks for.
    pub fn load(&self) -> Load {
        match (self.users, self.rate) {
            (Some(users), _) => Load::Users(users, self.spawn.unwrap_or(f64::INFINITY)),
            (None, rate) => {
                let rate = rate.unwrap_or(0.0);
                Load::Rate(rate, self.to.unwrap_or(rate))
            }
        }
    }

    /// Whether requests arrive by a rate.
    pub fn is_open(&self) -> bool {
        self.rate.is_some()
    }

    /// Its name, or what it does.
    pub fn title(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        match self.load() {
            Load::Users(users, _) => format!("{users} users"),
            Load::Rate(from, to) if from == to => format!("{from}/s"),
            Load::Rate(from, to) => format!("{from}–{to}/s"),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.duration < SHORTEST {
            return Err("it lasts less than a tenth of a second".into());
        }
        if self.users.is_some() == self.rate.is_some() {
            return Err("either `users` or `rate` is needed".into());
        }
        if self.users.is_none() && self.spawn.is_some() || self.rate.is_none() && self.to.is_some() {
            return Err("`spawn` goes with `users`, and `to` with `rate`".into());
        }
        let sane = |value: f64| value.is_finite() && (0.0..=MOST).contains(&value);
        if ![self.rate, self.to, self.users.map(|users| users as f64)].into_iter().flatten().all(sane) {
            return Err(format!("numbers from 0 to {MOST} are taken"));
        }
        if self.spawn.is_some_and(|spawn| !sane(spawn) || spawn == 0.0) {
            return Err("`spawn` is a number above 0".into());
        }
        Ok(())
    }
}
