//! Telling gateways and workers what has been stored, and where. One prediction is told at once; under load, those of a
//! few milliseconds are told together, so that what another gateway costs does not grow with every image.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use parking_lot::Mutex;

use crate::subjects;

/// How long predictions are collected after one has been told. A gateway that has not heard of one yet has it
/// computed again.
const TOGETHER: Duration = Duration::from_millis(5);
/// Bytes of one on the wire: fingerprint and sequence, little endian.
const BYTES: usize = 2 * size_of::<u64>();

/// The fingerprint of a key, and the sequence of its prediction in the stream.
pub(super) type Place = (u64, u64);

/// Tells of writes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Written {
    client: Client,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Not told yet.
    pending: Vec<Place>,
    /// Whether a task is there that tells what is pending.
    is_collecting: bool,
}

impl Written {
    /// Nothing written yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, state: Arc::default() }
    }

    /// Tells of a prediction. A lone one is on its way when this returns.
    pub(super) async fn tell(&self, place: Place) {
        {
            let mut state = self.state.lock();
            if state.is_collecting {
                state.pending.push(place);
                return;
            }
            state.is_collecting = true;
        }
        tokio::spawn(self.clone().collect());
        self.publish(&[place]).await;
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
    async fn publish(&self, places: &[Place]) {
        let numbers = places.iter().flat_map(|(print, sequence)| [print, sequence]);
        let payload: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        if let Err(error) = self.client.publish(subjects::CACHE_STORED, payload.into()).await {
            tracing::debug!(%error, "others were not told of cached predictions");
        }
    }
}

/// Reads what [`Written`] tells; nothing from what is none of that.
pub(super) fn read(payload: &[u8]) -> impl Iterator<Item = Place> {
    let number = |raw: &[u8]| raw.first_chunk().map_or(0, |raw| u64::from_le_bytes(*raw));
    let (places, rest) = payload.as_chunks::<BYTES>();
    let places = if rest.is_empty() { places } else { &[] };
    places.iter().map(move |raw| (number(raw), number(&raw[BYTES / 2..])))
}
