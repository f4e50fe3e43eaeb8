//! What the shared bucket may hold. An image that nobody has seen is the usual case in front of the queue:
//! asking the bucket for it would cost every one of them a round trip.
//!
//! Whoever writes a prediction says so (`written.rs`). What was there before is listed once for each connection. Until
//! that is done, and whenever the connection is lost, everything may be there.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::Store;
use futures_util::StreamExt;
use parking_lot::Mutex;
use shoal_shared::digest::CacheKey;
use shoal_shared::process::shutdown::Shutdown;

use super::filter::Filter;
use super::written::fingerprints;
use crate::connect::{Bus, BusError};
use crate::subjects;

/// Bytes that the smallest prediction takes in the bucket: bounds how many there can be.
const SMALLEST_ENTRY: usize = 256;
/// Most keys that are kept in mind, whatever the bucket's size.
const MOST_KEYS: usize = 4 << 20;
/// Pause before listing again when it failed.
const LIST_AGAIN: Duration = Duration::from_secs(30);

/// The keys that may be in the bucket. Cheap to clone.
#[derive(Clone)]
pub(super) struct Index(Arc<Mutex<State>>);

struct State {
    filter: Filter,
    /// Whether the filter knows of everything in the bucket.
    is_complete: bool,
}

impl Index {
    /// Knows nothing yet: everything may be there.
    pub(super) fn new(bucket_bytes: i64) -> Self {
        let keys = usize::try_from(bucket_bytes).map_or(MOST_KEYS, |bytes| (bytes / SMALLEST_ENTRY).min(MOST_KEYS));
        Self(Arc::new(Mutex::new(State { filter: Filter::new(keys), is_complete: false })))
    }

    /// Whether it is worth asking the bucket; `false` means that it is not there, or was written a moment ago.
    pub(super) fn may_hold(&self, key: &CacheKey) -> bool {
        let state = self.0.lock();
        !state.is_complete || state.filter.may_hold(key.fingerprint())
    }

    /// Keeps up with the bucket until shutdown.
    pub(super) async fn follow(&self, bus: &Bus, store: &Store, shutdown: &Shutdown) {
        let mut connections = bus.connections();
        while !shutdown.is_ordered() {
            let connection = connections.borrow_and_update().count;
            let lost = async {
                let _ = connections.wait_for(|now| !now.up || now.count != connection).await;
            };
            tokio::select! {
                followed = self.follow_connection(bus, store) => {
                    if let Err(error) = followed {
                        tracing::info!(%error, "the shared bucket is asked for every image");
                    }
                    self.0.lock().is_complete = false;
                    tokio::select! {
                        () = tokio::time::sleep(LIST_AGAIN) => {}
                        () = shutdown.ordered() => return,
                    }
                }
                () = lost => self.0.lock().is_complete = false,
                () = shutdown.ordered() => return,
            }
            tokio::select! {
                up = connections.wait_for(|now| now.up) => if up.is_err() { return },
                () = shutdown.ordered() => return,
            }
        }
    }

    async fn follow_connection(&self, bus: &Bus, store: &Store) -> Result<(), BusError> {
        let failed = |error: &dyn ToString| BusError::request("listing the cache", error.to_string());
        // Before the listing, so that nothing falls between the two.
        let mut written = bus.client.subscribe(subjects::CACHE_WRITTEN).await.map_err(|error| failed(&error))?;
        let mut keys = store.keys().await.map_err(|error| failed(&error))?;
        loop {
            tokio::select! {
                key = keys.next() => match key {
                    Some(key) => self.add(CacheKey::fingerprint_of(&key.map_err(|error| failed(&error))?)),
                    None => break,
                },
                message = written.next() => match message {
                    Some(message) => self.add(fingerprints(&message.payload)),
                    None => return Err(failed(&"the subscription ended")),
                },
            }
        }
        // The listing is a consumer that would be sent every write from now on as well.
        drop(keys);
        // The answer to the listing came after any complaint about the subscription.
        if let Some(denied) = bus.is_denied(subjects::CACHE_WRITTEN) {
            return Err(failed(&format!("NATS does not let this user {denied}")));
        }
        self.0.lock().is_complete = true;
        while let Some(message) = written.next().await {
            self.add(fingerprints(&message.payload));
        }
        Err(failed(&"the subscription ended"))
    }

    fn add(&self, fingerprints: impl IntoIterator<Item = u64>) {
        let mut state = self.0.lock();
        fingerprints.into_iter().for_each(|print| state.filter.add(print));
    }
}
