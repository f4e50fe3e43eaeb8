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

use std::fmt::Debug;
use std::sync::Barrier;
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

/// Has every one of `askers`, in a thread of its own and all at the same time, ask its question again and again, and holds
/// what it gets against what it gets alone. The question is its number.
pub fn same_alone_and_at_once<A: Send, T: PartialEq + Debug + Sync>(
    mut askers: Vec<A>,
    ask: impl Fn(&mut A, usize) -> T + Sync,
) {
    let alone: Vec<T> = askers.iter_mut().enumerate().map(|(number, asker)| ask(asker, number)).collect();
    let begin = Barrier::new(askers.len());
    std::thread::scope(|scope| {
        for (number, asker) in askers.iter_mut().enumerate() {
            let (alone, ask, begin) = (&alone, &ask, &begin);
            scope.spawn(move || {
                begin.wait();
                for _ in 0..8 {
                    assert_eq!(ask(asker, number), alone[number]);
                }
            });
        }
    });
}
