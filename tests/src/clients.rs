//! Clients that ask without a pause while a test does something else, and end with it, however it ends.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::eventually;
use crate::http::{Client, Response};

/// Clients at work.
pub struct Clients {
    asked: AtomicU32,
    stop: AtomicBool,
}

/// Tells the others to stop when it goes: after a panic too, or a test that has failed would wait for its
/// clients for ever.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clients {
    /// Runs `count` of them during `work`. Each calls `ask`, with its own number and that of the request, until
    /// an answer is none: that fails the test. Gives the number of requests.
    pub fn during(count: usize, ask: impl Fn(&Client, usize, u32) -> Response + Sync, work: impl FnOnce(&Self)) -> u32 {
        let clients = Self { asked: AtomicU32::new(0), stop: AtomicBool::new(false) };
        std::thread::scope(|scope| {
            for client in 0..count {
                let (clients, ask) = (&clients, &ask);
                scope.spawn(move || {
                    let _stops = Stops(&clients.stop);
                    let connections = Client::new();
                    while !clients.stop.load(Ordering::Relaxed) {
                        let request = clients.asked.fetch_add(1, Ordering::Relaxed);
                        let answer = ask(&connections, client, request);
                        assert!(answer.status == 200, "client {client}, request {request}: {answer:?}");
                    }
                });
            }
            let _stops = Stops(&clients.stop);
            work(&clients);
        });
        clients.asked.into_inner()
    }

    /// Requests so far.
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until something holds, or a request has failed.
    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        eventually(what, || self.stop.load(Ordering::Relaxed) || holds());
    }
}
