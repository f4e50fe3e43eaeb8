//! Real servers, real processes and real images for tests.
//!
//! Everything here is allowed to panic: a panic in a test is its failure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

pub mod bus;
pub mod chaos;
pub mod clients;
pub mod fleet;
pub mod guarded;
pub mod haproxy;
pub mod hosts;
pub mod http;
pub mod images;
pub mod load;
pub mod models;
pub mod mutate;
pub mod nats;
pub mod otlp;
pub mod process;
pub mod prometheus;
pub mod slow;

use std::time::{Duration, Instant};

/// How long a test waits for what is to come. Long, since it only matters where something is broken, and the
/// machine may be slow and shared.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `holds`, and fails when it still does not after three minutes. Nothing is asserted about how long
/// it takes.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < patience, "not within three minutes: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
