//! Where in the stream every cached prediction is. A stream with a subject for each of them would find them by itself, at
//! a price: the server would keep three hundred bytes for each in memory, and go through all of it whenever it looks for
//! garbage.
//!
//! Whoever writes a prediction says so (`written.rs`). What was there before is listed once for each connection. What is
//! not known here is computed again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push;
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use parking_lot::Mutex;
use shoal_shared::digest::CacheKey;
use shoal_shared::headers;
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::watch;

use super::places::Places;
use super::written;
use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::CACHE;

/// Bytes that the smallest prediction takes in the stream: bounds how many there can be.
const SMALLEST: usize = 256;
/// Listed once more after a lost connection: what others wrote and could not say in time.
const OVERLAP: u64 = 16 << 10;
/// Pause before listing again when it failed.
const LIST_AGAIN: Duration = Duration::from_secs(30);

/// The places that are known. Cheap to clone.
#[derive(Clone)]
pub(super) struct Index {
    places: Arc<Mutex<Places>>,
    most: usize,
    /// The connection whose listing is complete; 0 while none is.
    listed: Arc<watch::Sender<u64>>,
}

impl Index {
    /// Knows nothing yet, and never more places than `most` or than the stream has.
    pub(super) fn new(stream_bytes: i64, most: usize) -> Self {
        let most = usize::try_from(stream_bytes).map_or(most, |bytes| (bytes / SMALLEST).min(most));
        Self { places: Arc::new(Mutex::new(Places::new(most))), most, listed: Arc::default() }
    }

    /// Where a prediction may be.
    pub(super) fn find(&self, key: &CacheKey) -> Option<u64> {
        self.places.lock().find(key.fingerprint())
    }

    /// Waits until everything is known that was there when the present connection was made.
    pub(super) async fn listed(&self, bus: &Bus) {
        let mut listed = self.listed.subscribe();
        let is_present = |listed: &u64| *listed != 0 && *listed == bus.connections().borrow().count;
        let _ = listed.wait_for(is_present).await;
    }

    /// Keeps up with the stream until shutdown.
    pub(super) async fn follow(&self, bus: &Bus, shutdown: &Shutdown) {
        let mut connections = bus.connections();
        while !shutdown.is_ordered() {
            let connection = connections.borrow_and_update().count;
            let lost = async {
                let _ = connections.wait_for(|now| !now.up || now.count != connection).await;
            };
            tokio::select! {
                followed = self.follow_connection(bus, connection) => {
                    if let Err(error) = followed {
                        tracing::info!(%error, "predictions that others have made are computed again");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(LIST_AGAIN) => {}
                        () = shutdown.ordered() => return,
                    }
                }
                () = lost => {}
                () = shutdown.ordered() => return,
            }
            tokio::select! {
                up = connections.wait_for(|now| now.up) => if up.is_err() { return },
                () = shutdown.ordered() => return,
            }
        }
    }

    async fn follow_connection(&self, bus: &Bus, connection: u64) -> Result<(), BusError> {
        let failed = |error: &dyn ToString| BusError::request("listing the cache", error.to_string());
        let known = self.places.lock().newest();
        // Before the listing, so that nothing falls between the two.
        let mut told = bus.client.subscribe(subjects::CACHE_WRITTEN).await.map_err(|error| failed(&error))?;
        let stream = bus.js.get_stream(CACHE).await.map_err(|error| failed(&error))?;
        // The answer came after any complaint about the subscription.
        if let Some(denied) = bus.is_denied(subjects::CACHE_WRITTEN) {
            return Err(failed(&format!("NATS does not let this user {denied}")));
        }
        let last = stream.cached_info().state.last_sequence;
        if last < known {
            tracing::info!("the cache has begun anew");
            self.places.lock().clear();
        }
        let new = if last < known { 1 } else { (known + 1).saturating_sub(OVERLAP) };
        let start = new.max(last.saturating_sub(self.most as u64)).max(1);
        if start <= last {
            self.list(&stream, start, bus).await.map_err(|error| failed(&error))?;
        }
        self.listed.send_replace(connection);
        while let Some(message) = told.next().await {
            let mut places = self.places.lock();
            written::read(&message.payload).for_each(|(print, sequence)| places.add(print, sequence));
        }
        Err(failed(&"the subscription ended"))
    }

    /// Everything from a sequence on, by its headers.
    async fn list(&self, stream: &Stream, start: u64, bus: &Bus) -> Result<(), async_nats::Error> {
        let consumer = stream
            .create_consumer(push::OrderedConfig {
                deliver_subject: bus.client.new_inbox(),
                headers_only: true,
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
                ..push::OrderedConfig::default()
            })
            .await?;
        let mut left = consumer.cached_info().num_pending;
        let mut messages = consumer.messages().await?;
        while left > 0 {
            let Some(message) = messages.next().await else { return Err("the listing ended".into()) };
            let message = message?;
            let info = message.info()?;
            left = info.pending;
            if let Some(print) = fingerprint(&message.subject, message.headers.as_ref()) {
                self.places.lock().add(print, info.stream_sequence);
            }
        }
        Ok(())
    }
}

/// The fingerprint of a stored prediction's key, by its subject and headers.
fn fingerprint(subject: &str, headers: Option<&HeaderMap>) -> Option<u64> {
    CacheKey::fingerprint_of(subjects::parse_cached(subject)?, headers?.get(headers::IMAGE)?.as_str())
}
