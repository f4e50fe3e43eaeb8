//! Putting a job into the queue. The broker's acknowledgement is the moment of acceptance.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use shoal_shared::digest::ImageSha256;
use shoal_shared::headers::{self, Deadline};
use shoal_shared::names::{JobId, Lane, ModelName};
use shoal_shared::trace::Trace;
use shoal_shared::vouch::Vouch;
use thiserror::Error;

use crate::connect::{Bus, REQUEST_TIMEOUT};
use crate::subjects;
use crate::topology::JOBS;

/// A job on its way into the queue.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Identity; also the deduplication id of a job that nobody waits for.
    pub id: JobId,
    /// Which model is asked.
    pub model: ModelName,
    /// How urgent it is.
    pub lane: Lane,
    /// The image.
    pub image: Image,
    /// SHA-256 of the image.
    pub digest: ImageSha256,
    /// Our word for that; without it the worker computes it again.
    pub vouch: Option<Vouch>,
    /// When the answer stops being useful; the broker drops the job then.
    pub deadline: Option<Deadline>,
    /// Subject for the answer; without one the outcome goes to the results stream.
    pub reply: Option<String>,
    /// Encoding of the answer, one of the `ACCEPT_*` constants.
    pub accept: &'static str,
    /// Classes wanted in a JSON answer.
    pub top_k: Option<usize>,
    /// Keep the prediction out of the cache.
    pub no_store: bool,
    /// An attempt that fails is answered, not repeated: whoever asks has somebody else to ask.
    pub once: bool,
    /// Which request it belongs to.
    pub trace: Trace,
}

/// Where the image travels.
#[derive(Debug, Clone)]
pub enum Image {
    /// In the message.
    Inline(Bytes),
    /// In the uploads bucket, under this name.
    Object(String),
}

/// The broker's acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The job's sequence in the stream.
    pub sequence: u64,
    /// The id was seen before within the window: nothing was stored.
    pub duplicate: bool,
}

/// Why the queue did not take a job.
#[derive(Debug, Error)]
pub enum Refused {
    /// The lane or the stream is at its limit.
    #[error("the queue is full: {0}")]
    Full(String),
    /// The message exceeds what the broker accepts.
    #[error("the job is too large for the queue: {0}")]
    TooLarge(String),
    /// Nobody takes this model's jobs: it is not provisioned, or its stream has no leader just now.
    #[error("no queue takes jobs for this model at the moment")]
    NoQueue,
    /// The broker is gone, slow or leaderless.
    #[error("the queue is not available: {0}")]
    Unavailable(String),
}

/// Too many bytes or messages buffered inside the server.
const INGEST_OVERLOAD: u64 = 10167;

impl Bus {
    /// Publishes a job and waits for the broker's acknowledgement.
    pub async fn publish_job(&self, job: NewJob) -> Result<Published, Refused> {
        let subject = subjects::job(&job.model, job.lane);
        let headers = job_headers(&job);
        let payload = match job.image {
            Image::Inline(bytes) => bytes,
            Image::Object(_) => Bytes::new(),
        };
        let message = PublishMessage::build().payload(payload).headers(headers);
        let Some(attempt) = self.breaker.attempt() else {
            return Err(Refused::Unavailable("it takes requests and does not answer".into()));
        };
        let publishing = async {
            let pending = self.js.send_publish(subject, message).await?;
            pending.await
        };
        let silent = || Refused::Unavailable("it did not answer".into());
        let published = tokio::time::timeout(attempt.patience(REQUEST_TIMEOUT), publishing).await;
        let published = published.map_err(|_| silent())?;
        if !matches!(&published, Err(error) if error.kind() == PublishErrorKind::TimedOut) {
            attempt.answered();
        }
        let ack = published.map_err(refused)?;
        Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate })
    }

    /// Removes a job that nobody waits for any more, whether it has started or not.
    pub async fn remove_job(&self, sequence: u64) {
        let Ok(stream) = self.js.get_stream_no_info(JOBS).await else { return };
        if let Err(error) = stream.delete_message(sequence).await {
            tracing::debug!(sequence, %error, "job was gone before it could be removed");
        }
    }
}

fn job_headers(job: &NewJob) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::JOB, job.id.as_str());
    // Whoever waits publishes once. An id that the broker remembers for two minutes takes 130 bytes of its memory.
    if job.reply.is_none() {
        map.insert(async_nats::header::NATS_MESSAGE_ID, job.id.as_str());
    }
    map.insert(headers::DIGEST, job.digest.to_string());
    // An object may be replaced after that: no word for those.
    if let (Some(vouch), Image::Inline(_)) = (&job.vouch, &job.image) {
        map.insert(headers::VOUCH, vouch.to_string());
    }
    map.insert(headers::ACCEPT, job.accept);
    if let Image::Object(name) = &job.image {
        map.insert(headers::OBJECT, name.as_str());
    }
    if let Some(reply) = &job.reply {
        map.insert(headers::REPLY, reply.as_str());
    }
    if let Some(top_k) = job.top_k {
        map.insert(headers::TOP_K, top_k.to_string());
    }
    if job.no_store {
        map.insert(headers::CACHE, headers::CACHE_NO_STORE);
    }
    if job.once {
        map.insert(headers::ATTEMPTS, "1");
    }
    map.insert(headers::TRACEPARENT, job.trace.traceparent());
    if let Some(request) = job.trace.given_id() {
        map.insert(headers::REQUEST, request);
    }
    if let Some(deadline) = job.deadline {
        map.insert(headers::DEADLINE, deadline.as_millis().to_string());
        // The broker drops it silently: fine while somebody waits and keeps the time, and only then.
        if job.reply.is_some() {
            let ttl = ttl_seconds(deadline.remaining(SystemTime::now()));
            map.insert(async_nats::header::NATS_MESSAGE_TTL, ttl.to_string());
        }
    }
    map
}

/// The broker counts time to live in whole seconds, one at least: never shorter than the deadline.
fn ttl_seconds(remaining: Duration) -> u64 {
    remaining.as_millis().div_ceil(1000).max(1) as u64
}

pub(crate) fn refused(error: PublishError) -> Refused {
    let api = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), api.map(jetstream::Error::error_code)) {
        (PublishErrorKind::StreamNotFound, _) => Refused::NoQueue,
        (PublishErrorKind::MaxPayloadExceeded, _) | (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => {
            Refused::TooLarge(error.to_string())
        }
        (_, Some(code)) if code == ErrorCode::STREAM_STORE_FAILED || code.0 == INGEST_OVERLOAD => {
            Refused::Full(api.map(ToString::to_string).unwrap_or_default())
        }
        _ => Refused::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_to_live_never_undercuts_the_deadline() {
        assert_eq!(ttl_seconds(Duration::ZERO), 1);
        assert_eq!(ttl_seconds(Duration::from_millis(1000)), 1);
        assert_eq!(ttl_seconds(Duration::from_millis(1001)), 2);
    }
}
