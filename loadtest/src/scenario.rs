//! What is to be asked of a target, as a TOML file: images, tasks, phases, and what must hold.

mod image_mix;
mod phase;
mod target;
mod task;
mod threshold;
mod wait;

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use image_mix::{Generate, ImageFile, Images, Mix};
pub use phase::{Load, Phase};
pub use target::{Login, Target};
pub use task::{Method, Task, Upload};
pub use threshold::{Metric, Threshold};
pub use wait::Wait;

/// Most phases of a scenario.
const MAX_PHASES: usize = 200;
/// Most tasks of a scenario.
const MAX_TASKS: usize = 50;

/// One experiment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in reports.
    pub title: String,
    /// What it is for.
    #[serde(default)]
    pub about: String,
    /// Who is asked.
    #[serde(default)]
    pub target: Target,
    /// What is sent.
    #[serde(default)]
    pub images: Images,
    /// What users do.
    #[serde(default)]
    pub users: Users,
    /// How arrivals come, in phases that have a rate.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// What must hold, or the exit code is 99.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
    /// What ends the run early when it held over the last ten seconds.
    #[serde(default)]
    pub stop_when: Vec<Threshold>,
    /// Requests, drawn by weight.
    #[serde(rename = "task")]
    pub tasks: Vec<Task>,
    /// One after the other.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// Users of the closed loop: each sends its next request after the answer to the last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    /// Pause between an answer and the next request.
    pub wait: Wait,
    /// Instead of a pause: one request every so often. Such a user has a schedule, so latency
    /// counts from it, and a stalled server cannot hide.
    #[serde(with = "humantime_serde")]
    pub pace: Option<std::time::Duration>,
    /// Wait as long as a refusal asks for, then send the same image again.
    pub obey: bool,
}

/// Arrivals of the open loop: they come whether or not earlier ones were answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arrivals {
    /// Random or even.
    pub spacing: Spacing,
    /// Most requests without an answer. An arrival beyond it is not sent, and counted as the
    /// generator's own shortfall.
    pub max_outstanding: usize,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { spacing: Spacing::Poisson, max_outstanding: 4000 }
    }
}

/// How far apart arrivals are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Independent of each other, as people come.
    Poisson,
    /// All the same.
    Constant,
}

/// Why a scenario cannot be run.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    /// It is not TOML of this shape.
    #[error("{0}: {1}")]
    Malformed(String, toml::de::Error),
    /// It makes no sense.
    #[error("{0}: {1}")]
    Senseless(String, String),
}

impl Scenario {
    /// Reads and checks a file. Folders in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ScenarioError::Unreadable(name.clone(), error))?;
        let mut scenario: Self =
            toml::from_str(&text).map_err(|error| ScenarioError::Malformed(name.clone(), error))?;
        if let Some(folder) = path.parent() {
            scenario.images.relative_to(folder);
        }
        scenario.check().map_err(|reason| ScenarioError::Senseless(name, reason))?;
        Ok(scenario)
    }

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        if self.tasks.is_empty() || self.tasks.len() > MAX_TASKS {
            return Err(format!("1 to {MAX_TASKS} [[task]] are needed, there are {}", self.tasks.len()));
        }
        if self.phases.is_empty() || self.phases.len() > MAX_PHASES {
            return Err(format!("1 to {MAX_PHASES} [[phase]] are needed, there are {}", self.phases.len()));
        }
        for (index, phase) in self.phases.iter().enumerate() {
            phase.check().map_err(|reason| format!("phase {}: {reason}", index + 1))?;
        }
        if self.phases.iter().any(Phase::is_open) && !self.phases.iter().all(Phase::is_open) {
            return Err("phases have either all `users` or all `rate`".into());
        }
        for task in &self.tasks {
            task.check().map_err(|reason| format!("task `{}`: {reason}", task.name))?;
        }
        if self.tasks.iter().map(|task| task.weight).sum::<u32>() == 0 {
            return Err("every task has weight 0".into());
        }
        if self.tasks.iter().any(|task| task.token) && self.target.login.is_none() {
            return Err("a task has `token = true` and there is no [target.login]".into());
        }
        if self.arrivals.max_outstanding == 0 {
            return Err("arrivals.max_outstanding is 0: nothing could be sent".into());
        }
        for threshold in self.thresholds.iter().chain(&self.stop_when) {
            let named = threshold.task.as_ref();
            if let Some(task) = named.filter(|name| self.tasks.iter().all(|task| &task.name != *name)) {
                return Err(format!("threshold `{threshold}`: there is no task `{task}`"));
            }
        }
        self.target.check()?;
        self.images.check()
    }

    /// Whether requests arrive by a rate instead of being sent by users.
    pub fn is_open(&self) -> bool {
        self.phases.first().is_some_and(Phase::is_open)
    }

    /// The names under which results are kept: the tasks, then the login if there is one.
    pub fn names(&self) -> Vec<String> {
        let login = self.target.login.iter().map(|login| format!("POST {}", login.path));
        self.tasks.iter().map(|task| task.name.clone()).chain(login).collect()
    }

    /// Length of all phases.
    pub fn duration(&self) -> std::time::Duration {
        self.phases.iter().map(|phase| phase.duration).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(), String> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
        scenario.check()
    }

    #[test]
    fn nonsense_is_named() {
        let task = "[[task]]\nname = 'predict'\npath = '/predict'\nupload = 'raw'\n";
        let phase = "[[phase]]\nduration = '10s'\nusers = 3\n";
        let head = "title = 't'\n";
        assert_eq!(parse(&format!("{head}{task}{phase}")), Ok(()));
        let with = |extra: &str, phases: &str| parse(&format!("{head}{extra}{task}{phases}")).unwrap_err();
        assert!(with("", "[[phase]]\nduration = '10s'\n").contains("either `users` or `rate`"));
        assert!(with("", &format!("{phase}[[phase]]\nduration = '1s'\nrate = 3\n")).contains("all `users` or all"));
        assert!(with("thresholds = ['p95 < fast']\n", phase).contains("`fast` is no"));
        assert!(with("thresholds = ['index.p95 < 3s']\n", phase).contains("no task `index`"));
        assert!(with("[users]\nwait = '5s-1s'\n", phase).contains("empty"));
        assert!(with("[images]\nmix = 'zipf'\nexponent = -1.0\n", phase).contains("exponent"));
        assert!(with("nonsense = 1\n", phase).contains("nonsense"));
    }

    #[test]
    fn every_scenario_that_ships_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let read = files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
        let scenarios: Vec<_> =
            read.map(|path| Scenario::read(path).unwrap_or_else(|error| panic!("{error}"))).collect();
        assert!(scenarios.len() >= 10, "{} scenarios", scenarios.len());
    }
}
