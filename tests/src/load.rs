//! Load from the load generator that ships, for as long as a test needs it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::process::{Process, binary};

/// How a fleet is loaded.
pub struct LoadPlan<'a> {
    /// Where images are posted.
    pub url: &'a str,
    /// The image.
    pub image: &'a Path,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// Whether every body is different.
    pub unique: bool,
}

impl LoadPlan<'_> {
    fn command(&self, seconds: u32) -> Command {
        let mut command = Command::new(binary("shoal-loadtest"));
        command.args(["--url", self.url, "--json", "--image"]).arg(self.image);
        command.args(["--connections", &self.connections.to_string(), "--seconds", &seconds.to_string()]);
        command.args(self.unique.then_some("--unique"));
        command
    }

    /// Loads until the process is dropped.
    pub fn start(&self, log: &Path) -> Process {
        Process::start(&mut self.command(600), log)
    }

    /// Loads for a while; gives the generator's summary.
    pub fn run(&self, seconds: u32) -> Value {
        let output = self.command(seconds).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
