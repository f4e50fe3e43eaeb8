//! The undertaker buries jobs that the broker itself has given up, so that nothing rots in the
//! stream. Every gateway runs one.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use shoal_shared::answer::Answer;
use shoal_shared::codec;
use shoal_shared::headers;
use shoal_shared::names::JobId;
use shoal_shared::process::shutdown::Shutdown;

use super::bury::{Epitaph, Remains, dead_outcome, without};
use crate::attempts::Attempts;
use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::{ADVISORIES, JOBS, MAX_MESSAGE, UNDERTAKER};
use crate::uploads::{Stored, Uploads};

/// How long the undertaker waits for work before it asks again.
const UNDERTAKER_EXPIRY: Duration = Duration::from_secs(20);

impl Bus {
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
        let record = Attempts::open(self).await?.read(advisory.stream_seq).await?.unwrap_or_default();
        let epitaph = Epitaph {
            reason: format!("delivered {} times and never settled: its workers died or hung", advisory.deliveries),
            attempts: advisory.deliveries,
            worker: record.worker,
        };
        self.bury_message(job, &epitaph).await
    }

    /// Moves a message of the jobs stream to the dead letters and tells whoever published it.
    pub(super) async fn bury_message(&self, job: StreamMessage, epitaph: &Epitaph) -> Result<(), BusError> {
        let Some((model, lane)) = subjects::parse_job(&job.subject) else { return Ok(()) };
        let subject = subjects::dead(&model, lane);
        let upload = self.upload_of(&job).await?;
        let (headers, payload) = match &upload {
            Some((_, _, image)) => (without(&job.headers, headers::OBJECT), image.clone()),
            None => (job.headers.clone(), job.payload.clone()),
        };
        self.bury_remains(Remains { subject, sequence: job.sequence, headers, payload }, epitaph).await?;
        tracing::warn!(job.sequence, reason = epitaph.reason, "job moved to the dead letters");
        self.tell_publisher(&job.headers, job.sequence, epitaph).await?;
        self.remove_job(job.sequence).await;
        if let Some((uploads, object, _)) = upload {
            uploads.remove(&object).await;
        }
        Ok(())
    }

    /// A job's image that travelled as an object: where, as what, and the image itself. None when it is gone or too
    /// large for a dead letter, which then refers to it as the job did.
    async fn upload_of(&self, job: &StreamMessage) -> Result<Option<(Uploads, String, Bytes)>, BusError> {
        let Some(object) = job.headers.get(headers::OBJECT) else { return Ok(None) };
        let uploads = Uploads::open(self).await?;
        let found = uploads.get(object.as_str(), MAX_MESSAGE as usize).await;
        let image = found.ok().and_then(Stored::image);
        Ok(image.map(|image| (uploads, object.to_string(), image)))
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
            None => self.store_result(&id, Answer::of(&outcome, None).to_json()).await.map(drop),
        }
    }
}

/// The part of a max-deliveries advisory that matters.
#[derive(Deserialize)]
struct Advisory {
    stream_seq: u64,
    deliveries: u64,
}
