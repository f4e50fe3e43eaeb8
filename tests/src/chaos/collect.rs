//! Waiting for the outcome of everything that was accepted.

use std::time::{Duration, Instant};

use super::ledger::{Face, Kind, Ledger};
use crate::bus::Streams;
use crate::http::Client;

/// Longest wait for the last outcome.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks at every outcome twice: in the stream and through one of the gateways.
pub fn collect(gateways: &[String], nats_url: &str, ledger: &Ledger) {
    let (streams, client) = (Streams::connect(nats_url), Client::new());
    let mut open: Vec<usize> = (0..ledger.len()).collect();
    let entries = ledger.entries();
    let patience = Instant::now() + PATIENCE;
    while !open.is_empty() && Instant::now() < patience {
        open.retain(|&place| {
            let Some(id) = &entries[place].id else { return false };
            let outcome = match entries[place].kind {
                Kind::Async => {
                    let gateway = &gateways[place % gateways.len()];
                    client.try_get(&format!("{gateway}/jobs/{id}")).unwrap().json()["result"].clone()
                }
                Kind::Sync | Kind::Published => streams.result(id),
            };
            let Some(face) = Face::of(&outcome) else { return true };
            ledger.show(place, face);
            if let Some(face) = Face::of(&streams.result(id)) {
                ledger.show(place, face);
            }
            false
        });
    }
}
