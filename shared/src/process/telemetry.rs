//! Logs: readable on a terminal, JSON elsewhere, filtered by `SHOAL_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `SHOAL_LOG` takes a filter such as `info` or
/// `shoal_worker=debug`; a second call in one process does nothing.
pub fn init() {
    init_with("info,async_nats=warn,ort=warn");
}

/// The same with another default filter.
pub fn init_with(default: &str) {
    let filter = EnvFilter::try_from_env("SHOAL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Saying that nobody reads the log would go the same way.
    let builder = builder.log_internal_errors(false);
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).compact().try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
