//! ONNX Runtime's official builds send telemetry unless told not to before they are loaded.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the library reads when it loads.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Makes sure that this process, and every child of it, runs with telemetry off. The environment
/// of a running process cannot be changed safely, so a process without the variable starts over
/// with it. Call first in `main`.
pub fn forbid_telemetry() -> std::io::Result<()> {
    if std::env::var_os(NO_TELEMETRY).is_some() {
        return Ok(());
    }
    start_over().map(|never| match never {})
}

fn start_over() -> std::io::Result<Infallible> {
    let this = std::env::current_exe()?;
    Err(Command::new(this).args(std::env::args_os().skip(1)).env(NO_TELEMETRY, "1").exec())
}
