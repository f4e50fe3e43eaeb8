//! Where in the stream every cached prediction is. A stream with a subject for each of them would find them by itself, at
//! a price: the server would keep three hundred bytes for each in memory, and go through all of it whenever it looks for
//! garbage.
//!
//! Whoever writes a prediction says so (`written.rs`). What was there before is listed once for each connection. What is
//! not known here is computed again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push;
use async_nats::jetstream::stream::Stream;
use async_nats::{HeaderMap, Subscriber};
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
/// Nobody stores more than that between two messages that tell of it: a sequence further on is none of the stream's.
const FAR: u64 = 1 << 24;
/// How long the next prediction of a listing may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses before listing again when it failed: doubling between these.
const LIST_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The places that are known. Cheap to clone.
#[derive(Clone)]
pub(super) struct Index {
    state: Arc<Mutex<State>>,
    most: usize,
    /// The connection whose listing is complete; 0 while none is.
    listed: Arc<watch::Sender<u64>>,
}

struct State {
    places: Places,
    /// When the stream was made that they are in.
    made: Option<SystemTime>,
}

impl Index {
    /// Knows nothing yet, and never more places than `most` or than the stream has.
    pub(super) fn new(stream_bytes: i64, most: usize) -> Self {
        let holds = usize::try_from(stream_bytes).ok().filter(|bytes| *bytes > 0).map(|bytes| bytes / SMALLEST);
        let most = holds.map_or(most, |holds| holds.min(most));
        let state = State { places: Places::new(most), made: None };
        Self { state: Arc::new(Mutex::new(state)), most, listed: Arc::default() }
    }

    /// Where a prediction may be.
    pub(super) fn find(&self, key: &CacheKey) -> Option<u64> {
        self.state.lock().places.find(key.fingerprint())
    }

    /// A prediction is not where it was thought to be.
    pub(super) fn forget(&self, key: &CacheKey) {
        self.state.lock().places.remove(key.fingerprint());
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
                () = self.follow_connection(bus, connection) => return,
                () = lost => {}
                () = shutdown.ordered() => return,
            }
            tokio::select! {
                up = connections.wait_for(|now| now.up) => if up.is_err() { return },
                () = shutdown.ordered() => return,
            }
        }
    }

    /// Ends with the process's connection.
    async fn follow_connection(&self, bus: &Bus, connection: u64) {
        // Before the listing, so that nothing falls between the two.
        let known = self.state.lock().places.newest();
        let Ok(told) = bus.client.subscribe(subjects::CACHE_STORED).await else { return };
        let listing = async {
            let mut pause = LIST_AGAIN.0;
            while let Err(error) = self.catch_up(bus, known).await {
                tracing::info!(%error, "predictions of others are computed again until they can be listed");
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LIST_AGAIN.1);
            }
            self.listed.send_replace(connection);
        };
        tokio::join!(self.hear(told), listing);
    }

    async fn hear(&self, mut told: Subscriber) {
        while let Some(message) = told.next().await {
            let places = &mut self.state.lock().places;
            for (print, sequence) in written::read(&message.payload) {
                if sequence.saturating_sub(places.newest()) < FAR {
                    places.add(print, sequence);
                }
            }
        }
    }

    /// Learns what is there beyond a sequence that is known.
    async fn catch_up(&self, bus: &Bus, known: u64) -> Result<(), BusError> {
        let failed = |error: &dyn ToString| BusError::request("listing the cache", error.to_string());
        let stream = bus.js.get_stream(CACHE).await.map_err(|error| failed(&error))?;
        let info = stream.cached_info();
        let (last, made) = (info.state.last_sequence, SystemTime::from(info.created));
        let is_another = {
            let mut state = self.state.lock();
            let before = state.made.replace(made);
            let is_another = before.is_some_and(|before| before != made) || last < known;
            if is_another {
                state.places.clear();
            }
            state.places.reach(last);
            is_another
        };
        let new = if is_another { 1 } else { (known + 1).saturating_sub(OVERLAP) };
        let start = new.max(last.saturating_sub(self.most as u64)).max(1);
        if start <= last {
            self.list(&stream, start, bus).await.map_err(|error| failed(&error))?;
        }
        Ok(())
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
            // What is left may be purged meanwhile.
            let next = tokio::time::timeout(PATIENCE, messages.next()).await?;
            let message = next.ok_or("the listing ended")??;
            let info = message.info()?;
            left = info.pending;
            if let Some(print) = fingerprint(&message.subject, message.headers.as_ref()) {
                self.state.lock().places.add(print, info.stream_sequence);
            }
        }
        Ok(())
    }
}

/// The fingerprint of a stored prediction's key, by its subject and headers.
fn fingerprint(subject: &str, headers: Option<&HeaderMap>) -> Option<u64> {
    CacheKey::fingerprint_of(subjects::parse_cached(subject)?, headers?.get(headers::IMAGE)?.as_str())
}
