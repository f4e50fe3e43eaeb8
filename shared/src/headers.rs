//! Names of the headers a job may carry. All are optional: a job needs nothing but its payload.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The job's id. Default: its sequence in the stream.
pub const JOB: &str = "Shoal-Job";
/// Subject for the answer (a JetStream publish uses the NATS reply for its own acknowledgement).
pub const REPLY: &str = "Shoal-Reply";
/// How the answer is encoded: [`ACCEPT_JSON`] (default) or [`ACCEPT_BINCODE`].
pub const ACCEPT: &str = "Shoal-Accept";
/// When the answer stops being useful, Unix milliseconds.
pub const DEADLINE: &str = "Shoal-Deadline";
/// SHA-256 of the image in hex, checked by the worker.
pub const DIGEST: &str = "Shoal-Digest";
/// A gateway's word that it has computed [`DIGEST`] ([`crate::vouch::Vouch`]): then the worker does not.
pub const VOUCH: &str = "Shoal-Vouch";
/// How many classes a JSON answer lists.
pub const TOP_K: &str = "Shoal-Top-K";
/// Name of the object that holds the image when it is too large for a message.
pub const OBJECT: &str = "Shoal-Object";
/// `no-store`: the prediction is neither read from nor written to the cache.
pub const CACHE: &str = "Shoal-Cache";
/// `1`: an attempt that fails is answered with its failure, and not repeated.
pub const ATTEMPTS: &str = "Shoal-Attempts";
/// Of a cached prediction, not of a job: the image's digest in hex.
pub const IMAGE: &str = "Shoal-Image";
/// The id that the client gave its request.
pub const REQUEST: &str = "Shoal-Request";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// [`ACCEPT`] value for people and other languages.
pub const ACCEPT_JSON: &str = "application/json";
/// [`ACCEPT`] value between our own processes.
pub const ACCEPT_BINCODE: &str = "application/x-bincode";
/// [`CACHE`] value that keeps a prediction out of the cache.
pub const CACHE_NO_STORE: &str = "no-store";

/// An instant in Unix milliseconds, the unit of [`DEADLINE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// The instant `timeout` after `now`.
    pub fn after(now: SystemTime, timeout: Duration) -> Self {
        Self(unix_millis(now).saturating_add(timeout.as_millis() as u64))
    }

    /// Reads the header's value.
    pub fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }

    /// Unix milliseconds.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// What is left at `now`; zero once the deadline has passed.
    pub fn remaining(self, now: SystemTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(unix_millis(now)))
    }

    /// Whether the deadline has passed at `now`.
    pub fn has_passed(self, now: SystemTime) -> bool {
        unix_millis(now) >= self.0
    }
}

fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_exactly_when_nothing_remains() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let deadline = Deadline::after(now, Duration::from_millis(250));
        assert_eq!(deadline.as_millis(), 1_000_250);
        assert!(!deadline.has_passed(now + Duration::from_millis(249)));
        assert!(deadline.has_passed(now + Duration::from_millis(250)));
        assert_eq!(deadline.remaining(now), Duration::from_millis(250));
        assert_eq!(deadline.remaining(now + Duration::from_secs(9)), Duration::ZERO);
    }

    #[test]
    fn nonsense_is_no_deadline() {
        assert_eq!(Deadline::parse("soon"), None);
        assert_eq!(Deadline::parse("-5"), None);
        assert_eq!(Deadline::parse(" 17 ").map(Deadline::as_millis), Some(17));
    }
}
