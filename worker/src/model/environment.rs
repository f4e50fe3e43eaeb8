//! What has to be in a process's environment before ONNX Runtime is loaded.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Variables and what they are set to unless somebody has set them.
const WANTED: [(&str, &str); 2] = [
    // Official builds send telemetry unless this is there.
    ("ORT_DISABLE_TELEMETRY", "1"),
    // glibc raises this bound with what is freed, and keeps what lies below it: after three sessions of a model
    // of 102 MB were built, 150 MB that nobody used any more.
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
];

/// Makes sure that this process, and every child of it, runs with telemetry off and gives memory back. The
/// environment of a running process cannot be changed safely, so a process without the variables starts over
/// with them. Call first in `main`.
pub fn prepare_environment() -> std::io::Result<()> {
    let missing: Vec<_> = WANTED.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    start_over(&missing).map(|never| match never {})
}

fn start_over(missing: &[(&str, &str)]) -> std::io::Result<Infallible> {
    let this = std::env::current_exe()?;
    let mut again = Command::new(this);
    Err(again.args(std::env::args_os().skip(1)).envs(missing.iter().copied()).exec())
}
