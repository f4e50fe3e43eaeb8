//! Writing a dead letter: payload, headers, reason, attempts and the last worker.

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::headers;
use shoal_shared::names::JobId;
use shoal_shared::prediction::{Outcome, Served, Timings};

use crate::connect::{Bus, BusError};
use crate::delivery::Delivery;
use crate::subjects;
use crate::topology::MAX_MESSAGE;

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
pub(super) struct Remains {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Bus {
    /// Copies a job to the dead-letter stream, with its image, wherever that travelled. The caller
    /// settles the delivery afterwards. `false`: the image is too large for a letter, which refers to the upload as the
    /// job did, so that has to stay.
    pub async fn bury(&self, delivery: &Delivery, image: &Bytes, epitaph: &Epitaph) -> Result<bool, BusError> {
        let fits = image.len() <= MAX_MESSAGE as usize;
        let remains = Remains {
            subject: subjects::dead(&delivery.model, delivery.lane),
            sequence: delivery.sequence,
            headers: if fits { without(&delivery.headers, headers::OBJECT) } else { delivery.headers.clone() },
            payload: if fits { image.clone() } else { delivery.payload.clone() },
        };
        self.bury_remains(remains, epitaph).await?;
        Ok(fits)
    }

    pub(super) async fn bury_remains(&self, remains: Remains, epitaph: &Epitaph) -> Result<(), BusError> {
        let Remains { subject, sequence, headers: mut map, payload } = remains;
        map.insert(REASON, epitaph.reason.replace(['\r', '\n'], " "));
        map.insert(ATTEMPTS, epitaph.attempts.to_string());
        map.insert(LAST_WORKER, epitaph.worker.as_str());
        map.insert(SEQUENCE, sequence.to_string());
        // Buried once, however often the burial is repeated; and it must outlive the job's own TTL.
        map.insert(async_nats::header::NATS_MESSAGE_ID, format!("dead-{sequence}"));
        map = without(&map, async_nats::header::NATS_MESSAGE_TTL.as_ref());
        let failed = |error| BusError::request("writing a dead letter", error);
        let message = PublishMessage::build().payload(payload).headers(map);
        let ack = self.js.send_publish(subject, message).await.map_err(failed)?;
        ack.await.map(drop).map_err(failed)
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

/// A header map without one of its names; the map itself cannot remove.
pub(super) fn without(map: &HeaderMap, name: &str) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (key, values) in map.iter() {
        if key.as_ref() as &str != name {
            values.iter().for_each(|value| kept.append(key.clone(), value.clone()));
        }
    }
    kept
}
