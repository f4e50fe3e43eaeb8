//! Telling gateways what has been written into the bucket. One prediction is told at once; under load, those of a few
//! milliseconds are told together, so that what another gateway costs does not grow with every image.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::subjects;

/// How long predictions are collected after one has been told. A gateway that has not heard of one yet has it
/// computed again.
const TOGETHER: Duration = Duration::from_millis(5);
/// Bytes of a fingerprint on the wire, little endian.
const BYTES: usize = size_of::<u64>();

/// Tells of writes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Written {
    client: Client,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Not told yet.
    pending: Vec<u64>,
    /// Whether a task is there that tells what is pending.
    is_collecting: bool,
}

impl Written {
    /// Nothing written yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, state: Arc::default() }
    }

    /// Tells of a key, by its fingerprint. A lone one is on its way when this returns, behind what the connection was
    /// given before.
    pub(super) async fn tell(&self, fingerprint: u64) {
        {
            let mut state = self.state.lock();
            if state.is_collecting {
                state.pending.push(fingerprint);
                return;
            }
            state.is_collecting = true;
        }
        tokio::spawn(self.clone().collect());
        self.publish(&[fingerprint]).await;
    }

    /// Tells what comes together, until nothing comes.
    async fn collect(self) {
        loop {
            tokio::time::sleep(TOGETHER).await;
            let pending = {
                let mut state = self.state.lock();
                state.is_collecting = !state.pending.is_empty();
                std::mem::take(&mut state.pending)
            };
            if pending.is_empty() {
                return;
            }
            self.publish(&pending).await;
        }
    }

    /// A loss costs a computation.
    async fn publish(&self, fingerprints: &[u64]) {
        let payload: Vec<u8> = fingerprints.iter().flat_map(|print| print.to_le_bytes()).collect();
        if let Err(error) = self.client.publish(subjects::CACHE_WRITTEN, payload.into()).await {
            tracing::debug!(%error, "gateways were not told of cached predictions");
        }
    }
}

/// Reads what [`Written`] tells.
pub(super) fn fingerprints(payload: &Bytes) -> impl Iterator<Item = u64> {
    payload.as_chunks::<BYTES>().0.iter().map(|raw| u64::from_le_bytes(*raw))
}
