//! Dead letters: jobs that could not be done, with payload, headers, reason, attempts and the last
//! worker. And the undertaker, which buries jobs that the broker itself has given up.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use shoal_shared::answer::Answer;
use shoal_shared::codec;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::headers;
use shoal_shared::names::JobId;
use shoal_shared::prediction::{Outcome, Served, Timings};
use shoal_shared::process::shutdown::Shutdown;

use crate::connect::{Bus, BusError};
use crate::delivery::Delivery;
use crate::subjects;
use crate::topology::{ADVISORIES, JOBS, UNDERTAKER};

/// Why the job died.
pub const REASON: &str = "Shoal-Dead-Reason";
/// Deliveries it had.
pub const ATTEMPTS: &str = "Shoal-Dead-Attempts";
/// The worker that had it last.
pub const LAST_WORKER: &str = "Shoal-Dead-Last-Worker";
/// Its sequence in the jobs stream.
pub const SEQUENCE: &str = "Shoal-Dead-Sequence";

/// What is written on the stone.
#[derive(Debug, Clone)]
pub struct Epitaph {
    /// Why it died.
    pub reason: String,
    /// Deliveries it had.
    pub attempts: u64,
    /// The worker that had it last, where known.
    pub worker: String,
}

/// What is left of a job.
struct Remains {
    subject: String,
    sequence: u64,
    headers: HeaderMap,
    payload: Bytes,
}

/// How long the undertaker waits for work before it asks again.
const UNDERTAKER_EXPIRY: Duration = Duration::from_secs(20);

impl Bus {
    /// Copies a job to the dead-letter stream. The caller settles the delivery afterwards.
    pub async fn bury(&self, delivery: &Delivery, epitaph: &Epitaph) -> Result<(), BusError> {
        let remains = Remains {
            subject: subjects::dead(&delivery.model, delivery.lane),
            sequence: delivery.sequence,
            headers: delivery.headers.clone(),
            payload: delivery.payload.clone(),
        };
        self.bury_remains(remains, epitaph).await
    }

    async fn bury_remains(&self, remains: Remains, epitaph: &Epitaph) -> Result<(), BusError> {
        let Remains { subject, sequence, headers: mut map, payload } = remains;
        map.insert(REASON, epitaph.reason.replace(['\r', '\n'], " "));
        map.insert(ATTEMPTS, epitaph.attempts.to_string());
        map.insert(LAST_WORKER, epitaph.worker.as_str());
        map.insert(SEQUENCE, sequence.to_string());
        // Buried once, however often the burial is repeated; and it must outlive the job's own TTL.
        map.insert(async_nats::header::NATS_MESSAGE_ID, format!("dead-{sequence}"));
        map = without(map, async_nats::header::NATS_MESSAGE_TTL.as_ref());
        let failed = |error| BusError::request("writing a dead letter", error);
        let message = PublishMessage::build().payload(payload).headers(map);
        let ack = self.js.send_publish(subject, message).await.map_err(failed)?;
        ack.await.map(drop).map_err(failed)
    }

    /// Buries jobs whose deliveries are exhausted without anybody having settled them: their
    /// workers died every time. Runs until shutdown; any number may run, each advisory is handled once.
    pub async fn run_undertaker(&self, shutdown: Shutdown) {
        while !shutdown.is_ordered() {
            tokio::select! {
                () = shutdown.ordered() => return,
                worked = self.bury_exhausted() => if let Err(error) = worked {
                    tracing::debug!(%error, "undertaker pauses");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                },
            }
        }
    }

    async fn bury_exhausted(&self) -> Result<(), BusError> {
        let failed = |what: &'static str| move |error: String| BusError::request(what, error);
        let consumer: Consumer<pull::Config> = self
            .js
            .get_consumer_from_stream(UNDERTAKER, ADVISORIES)
            .await
            .map_err(|error| failed("looking up the undertaker")(error.to_string()))?;
        let mut batch = consumer
            .batch()
            .max_messages(16)
            .expires(UNDERTAKER_EXPIRY)
            .messages()
            .await
            .map_err(|error| failed("pulling advisories")(error.to_string()))?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| failed("reading an advisory")(error.to_string()))?;
            if let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload) {
                self.bury_sequence(advisory).await?;
            }
            let _ = message.ack().await;
        }
        Ok(())
    }

    async fn bury_sequence(&self, advisory: Advisory) -> Result<(), BusError> {
        let jobs =
            self.js.get_stream_no_info(JOBS).await.map_err(|error| BusError::request("opening the jobs", error))?;
        // Gone already: settled late, expired or removed.
        let Ok(job) = jobs.get_raw_message(advisory.stream_seq).await else { return Ok(()) };
        let Some((model, lane)) = subjects::parse_job(&job.subject) else { return Ok(()) };
        let epitaph = Epitaph {
            reason: format!("delivered {} times and never settled: its workers died or hung", advisory.deliveries),
            attempts: advisory.deliveries,
            worker: String::new(),
        };
        let remains = Remains {
            subject: subjects::dead(&model, lane),
            sequence: advisory.stream_seq,
            headers: job.headers.clone(),
            payload: job.payload.clone(),
        };
        self.bury_remains(remains, &epitaph).await?;
        tracing::warn!(
            sequence = advisory.stream_seq,
            deliveries = advisory.deliveries,
            "job moved to the dead letters"
        );
        self.tell_publisher(&job.headers, advisory.stream_seq, &epitaph).await?;
        self.remove_job(advisory.stream_seq).await;
        Ok(())
    }

    async fn tell_publisher(&self, map: &HeaderMap, sequence: u64, epitaph: &Epitaph) -> Result<(), BusError> {
        let text = |name: &str| map.get(name).map(|value| value.as_str());
        let id = text(headers::JOB).and_then(|id| id.parse().ok()).unwrap_or_else(|| JobId::from_sequence(sequence));
        let outcome = dead_outcome(id.clone(), epitaph);
        match text(headers::REPLY).filter(|subject| subjects::may_reply_to(subject)) {
            Some(reply) if text(headers::ACCEPT) == Some(headers::ACCEPT_BINCODE) => {
                self.send(reply.to_owned(), codec::encode(&outcome).unwrap_or_default()).await
            }
            Some(reply) => self.send(reply.to_owned(), Answer::of(&outcome, None).to_json()).await,
            None => self.store_result(&id, Answer::of(&outcome, None).to_json()).await,
        }
    }
}

/// The outcome of a job that went to the dead letters.
pub fn dead_outcome(job: JobId, epitaph: &Epitaph) -> Outcome {
    let message = format!("the job was given up after {} attempts: {}", epitaph.attempts, epitaph.reason);
    Outcome {
        job,
        result: Err(Failure::new(FailureCode::DeadLettered, message)),
        served: Served {
            worker: epitaph.worker.clone(),
            batch: 0,
            attempt: epitaph.attempts.min(u64::from(u16::MAX)) as u16,
            timings: Timings::default(),
        },
    }
}

/// The part of a max-deliveries advisory that matters.
#[derive(Deserialize)]
struct Advisory {
    stream_seq: u64,
    deliveries: u64,
}

/// A header map without one of its names; the map itself cannot remove.
fn without(map: HeaderMap, name: &str) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (key, values) in map.iter() {
        if key.as_ref() as &str != name {
            values.iter().for_each(|value| kept.append(key.clone(), value.clone()));
        }
    }
    kept
}
