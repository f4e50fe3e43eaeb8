//! Real servers, real processes and real images for tests.
//!
//! Everything here is allowed to panic: a panic in a test is its failure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

pub mod bus;
pub mod chaos;
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

/// Waits until `holds`, and fails when it still does not after a minute. Nothing is asserted about
/// how long it takes.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
