//! Where a run was measured: a figure without its hardware says nothing.

use std::process::Command;

use serde::{Deserialize, Serialize};
use shoal_shared::process::{VERSION, available_cores, host_name};

use crate::watch::About;

/// Where a run was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Environment {
    /// The generator's machine.
    pub host: String,
    /// Its processor.
    pub cpu: String,
    /// Cores that the generator may use; the target runs on the same ones when it is local.
    pub cores: usize,
    /// Memory, GiB.
    pub memory_gib: f64,
    /// Kernel.
    pub system: String,
    /// Release of the generator.
    pub version: String,
    /// Commit of the working directory, when it is a checkout.
    pub commit: Option<String>,
    /// Whether the target is on the generator's machine, and shares its cores.
    pub local: bool,
    /// What the target says it is.
    pub target: About,
}

/// Looks around.
pub fn look(url: &str, target: About) -> Environment {
    let uname = rustix::system::uname();
    Environment {
        host: host_name(),
        cpu: cpu().unwrap_or_else(|| uname.machine().to_string_lossy().into_owned()),
        cores: available_cores(),
        memory_gib: memory().unwrap_or_default(),
        system: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
        version: format!("shoal-loadtest {VERSION}"),
        commit: commit(),
        local: ["://127.", "://localhost", "://[::1]"].iter().any(|part| url.contains(part)),
        target,
    }
}

fn cpu() -> Option<String> {
    field(&std::fs::read_to_string("/proc/cpuinfo").ok()?, "model name")
}

fn memory() -> Option<f64> {
    let text = field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    let kib: f64 = text.strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0 / 1024.0)
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
