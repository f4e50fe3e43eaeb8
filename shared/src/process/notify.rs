//! Readiness, told to whoever started the process: systemd, or `shoal-worker fleet`, both by way of
//! the datagram socket that `NOTIFY_SOCKET` names. Without one nothing happens.

/// The message that says so.
pub const READY: &str = "READY=1";

/// The process does its work from now on.
pub fn ready() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "readiness could not be told to the supervisor");
    }
}
