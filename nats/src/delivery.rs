//! One job in one worker's hands, from the pull to exactly one settlement.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::AckKind;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use shoal_shared::digest::ImageSha256;
use shoal_shared::headers::{self, Deadline};
use shoal_shared::names::{JobId, Lane, ModelName};
use shoal_shared::trace::Trace;
use shoal_shared::vouch::Vouch;
use tokio::sync::OwnedSemaphorePermit;

/// The right to hold one job, while one is held.
pub(crate) struct Slot {
    held: Arc<AtomicU32>,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// A job has arrived for this permit.
    pub(crate) fn taken(permit: OwnedSemaphorePermit, held: &Arc<AtomicU32>) -> Self {
        held.fetch_add(1, Ordering::Relaxed);
        Self { held: held.clone(), _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

use crate::order::{Order, Place, WORTH_ORDER};
use crate::receipt::{Counted, Receipt};
use crate::subjects;

/// A job as delivered: its payload, what its headers say, and the right to settle it.
///
/// Holds one of the worker's slots until dropped. Dropped unsettled, the job is delivered again
/// after `ack_wait`.
#[must_use = "an unsettled delivery comes back after ack_wait"]
pub struct Delivery {
    /// Identity: the header's, or the sequence in the stream.
    pub id: JobId,
    /// The model asked.
    pub model: ModelName,
    /// The lane it came by.
    pub lane: Lane,
    /// Payload of the message: the encoded image, unless `object` is set.
    pub payload: Bytes,
    /// Name of the object that holds the image instead.
    pub object: Option<String>,
    /// What the publisher asked for.
    pub wishes: Wishes,
    /// Which request it belongs to.
    pub trace: Trace,
    /// Sequence in the stream.
    pub sequence: u64,
    /// Deliveries so far, 1 being the first.
    pub attempt: u64,
    /// When the broker took the job.
    pub published: SystemTime,
    /// When it arrived here.
    pub received: Instant,
    pub(crate) headers: HeaderMap,
    receipt: Arc<Receipt>,
    place: Place,
    _slot: Slot,
}

/// What a job's headers ask for; every field has a default, malformed values count as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Where the answer goes; checked against the allowed prefixes.
    pub reply: Option<String>,
    /// Answer in bincode instead of JSON.
    pub bincode: bool,
    /// When the answer stops being useful.
    pub deadline: Option<Deadline>,
    /// SHA-256 that the image must have.
    pub digest: Option<ImageSha256>,
    /// A gateway's word that it has.
    pub vouch: Option<Vouch>,
    /// Classes in a JSON answer.
    pub top_k: Option<usize>,
    /// Neither read nor write the cache.
    pub no_store: bool,
    /// A failed attempt is answered, not repeated.
    pub once: bool,
}

impl Wishes {
    fn read(map: &HeaderMap) -> Self {
        let text = |name: &str| map.get(name).map(|value| value.as_str());
        Self {
            reply: text(headers::REPLY).filter(|subject| subjects::may_reply_to(subject)).map(str::to_owned),
            bincode: text(headers::ACCEPT) == Some(headers::ACCEPT_BINCODE),
            deadline: text(headers::DEADLINE).and_then(Deadline::parse),
            digest: text(headers::DIGEST).and_then(ImageSha256::parse),
            vouch: text(headers::VOUCH).and_then(Vouch::parse),
            top_k: text(headers::TOP_K).and_then(|value| value.parse().ok()),
            no_store: text(headers::CACHE) == Some(headers::CACHE_NO_STORE),
            once: text(headers::ATTEMPTS) == Some("1"),
        }
    }
}

impl Delivery {
    /// Reads a message of the jobs stream. `None` for what is no job delivery.
    pub(crate) fn read(
        client: &Arc<Client>,
        order: &Arc<Order>,
        message: async_nats::Message,
        slot: Slot,
    ) -> Option<Self> {
        let reply = message.reply?;
        let Counted { attempt, sequence, published } = Counted::read(&reply)?;
        let (model, lane) = subjects::parse_job(&message.subject)?;
        let headers = message.headers.unwrap_or_default();
        let text = |name: &str| headers.get(name).map(|value| value.as_str());
        let trace = Trace::of(text(headers::TRACEPARENT), text(headers::REQUEST));
        let id = headers.get(headers::JOB).and_then(|id| id.as_str().parse().ok());
        Some(Self {
            id: id.unwrap_or_else(|| JobId::from_sequence(sequence)),
            model,
            lane,
            payload: message.payload,
            object: headers.get(headers::OBJECT).map(|name| name.as_str().to_owned()),
            wishes: Wishes::read(&headers),
            trace,
            sequence,
            attempt,
            published,
            received: Instant::now(),
            headers,
            receipt: Arc::new(Receipt::new(client, reply)),
            place: order.enter(sequence),
            _slot: slot,
        })
    }

    /// What the puller keeps to tell the broker that this job is still in good hands.
    pub(crate) fn lease(&self) -> Lease {
        Lease { receipt: Arc::downgrade(&self.receipt), since: self.received }
    }

    /// Whether the deadline has passed.
    pub fn is_expired(&self) -> bool {
        self.wishes.deadline.is_some_and(|deadline| deadline.has_passed(SystemTime::now()))
    }

    /// Time between the publish and the arrival here.
    pub fn queue_delay(&self) -> Duration {
        let waited = self.published.elapsed().unwrap_or_default();
        waited.saturating_sub(self.received.elapsed())
    }

    /// Done: the outcome is stored and sent.
    pub async fn ack(self) {
        if self.payload.len() >= WORTH_ORDER {
            self.place.turn().await;
        }
        self.settle(AckKind::Ack).await;
    }

    /// Not now: back into the queue after `delay`.
    pub async fn nak(self, delay: Duration) {
        self.settle(AckKind::Nak(Some(delay))).await;
    }

    /// Never again: the job leaves the queue without an outcome of its own.
    pub async fn term(self) {
        self.settle(AckKind::Term).await;
    }

    /// A lost acknowledgement costs a redelivery, which the cache answers; nothing waits for it.
    async fn settle(self, kind: AckKind) {
        if let Err(error) = self.receipt.send(kind).await {
            tracing::warn!(job.id = %self.id, %error, "settling failed; the job will be delivered again");
        }
    }
}

/// A job in hand, seen from the puller; ends with the delivery.
pub(crate) struct Lease {
    receipt: Weak<Receipt>,
    since: Instant,
}

impl Lease {
    /// Whether the job is still in hand and younger than `longest`.
    pub(crate) fn is_live(&self, longest: Duration) -> bool {
        self.receipt.strong_count() > 0 && self.since.elapsed() < longest
    }

    /// Whether the job is held for at least `age`.
    pub(crate) fn is_older_than(&self, age: Duration) -> bool {
        self.since.elapsed() >= age
    }

    /// Restarts the broker's `ack_wait` for this job.
    pub(crate) async fn renew(&self) {
        if let Some(receipt) = self.receipt.upgrade() {
            let _ = receipt.send(AckKind::Progress).await;
        }
    }
}
