//! Outcomes of jobs whose publisher does not wait: one JSON message a job, kept for a while. The
//! first outcome stands: a job that is answered twice, or cancelled while it is answered, never
//! shows two faces.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures_util::StreamExt;
use shoal_shared::names::JobId;

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::RESULTS;

/// "Wrong last sequence", without saying which it would be.
const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;

impl Bus {
    /// Stores the outcome of a job, unless it has one. Gives whether this one stands.
    pub async fn store_result(&self, job: &JobId, outcome: Vec<u8>) -> Result<bool, BusError> {
        let failed = |error| BusError::request("storing a result", error);
        let first = PublishMessage::build().payload(outcome.into()).expected_last_subject_sequence(0);
        let ack = self.js.send_publish(subjects::result(job), first).await.map_err(failed)?;
        match ack.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            // A cluster says this while another outcome is on its way, which may yet fail.
            Err(error) if is_contested(&error) && self.result(job).await?.is_some() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// The stored outcome of a job, if there is one yet.
    pub async fn result(&self, job: &JobId) -> Result<Option<Bytes>, BusError> {
        let failed = |error: String| BusError::request("reading a result", error);
        let stream = self.js.get_stream_no_info(RESULTS).await.map_err(|error| failed(error.to_string()))?;
        let subject = subjects::result(job);
        let last = async {
            match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(Some(message.payload)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(failed(error.to_string())),
            }
        };
        self.ask(last).await
    }

    /// The outcome of a job, waiting at most `patience` for it. Nothing polls: the broker's copy of
    /// the result wakes whoever waits.
    pub async fn await_result(&self, job: &JobId, patience: Duration) -> Result<Option<Bytes>, BusError> {
        if patience.is_zero() {
            return self.result(job).await;
        }
        let subscribed = self.client.subscribe(subjects::result(job)).await;
        let mut news = subscribed.map_err(|error| BusError::request("waiting for a result", error))?;
        // Looked up after subscribing: a result stored in between is seen by one of the two.
        if let Some(outcome) = self.result(job).await? {
            return Ok(Some(outcome));
        }
        match tokio::time::timeout(patience, news.next()).await {
            // What was published may have lost against an earlier outcome: the stream knows.
            Ok(Some(_)) => self.settled_result(job).await,
            Ok(None) | Err(_) => self.result(job).await,
        }
    }

    /// The message has been seen on its way into the stream: it is there in a moment.
    async fn settled_result(&self, job: &JobId) -> Result<Option<Bytes>, BusError> {
        for pause in [0, 2, 10, 50, 200] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if let Some(outcome) = self.result(job).await? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Forgets the outcome of a job that is to have another one.
    pub async fn forget_result(&self, job: &JobId) -> Result<(), BusError> {
        let failed = |error: String| BusError::request("forgetting a result", error);
        let stream = self.js.get_stream_no_info(RESULTS).await.map_err(|error| failed(error.to_string()))?;
        let purged = stream.purge().filter(subjects::result(job)).await;
        purged.map(drop).map_err(|error| failed(error.to_string()))
    }
}

fn is_contested(error: &PublishError) -> bool {
    let api = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    api.is_some_and(|error| error.error_code().0 == WRONG_LAST_SEQUENCE_CONSTANT)
}
