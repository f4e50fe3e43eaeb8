//! What every `main` needs: telemetry, shutdown, the admin server, exit codes.

pub mod admin;
pub mod check;
pub mod host;
pub mod memory;
pub mod notify;
pub mod output;
pub mod shutdown;
pub mod spans;
pub mod telemetry;

use std::time::Duration;

/// Exit code for a configuration that cannot be right (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
/// Exit code when something needed is not there (`EX_UNAVAILABLE`).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// Exit code when the process failed by itself (`EX_SOFTWARE`).
pub const EXIT_SOFTWARE: u8 = 70;

/// Release of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// CPU cores this process may use: affinity and cgroup quota are taken into account.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// The machine's name, as far as it can be told.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How late the kernel may wake this thread, and whatever it becomes or starts, after a pause. Where the kernel
/// cannot, nothing happens.
pub fn set_timer_slack(slack: Duration) {
    #[cfg(target_os = "linux")]
    {
        let nanoseconds = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(nanoseconds));
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = slack;
    }
}

/// Asks the kernel to send this process SIGTERM when the one that started it is gone, so that
/// killing a supervisor leaves nothing behind. Where the kernel cannot, nothing happens.
pub fn follow_parent() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    }
}
