//! Outcomes of jobs whose publisher does not wait: one JSON message a job, kept for a while.

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use shoal_shared::names::JobId;

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::RESULTS;

impl Bus {
    /// Stores the outcome of a job; a repeated job overwrites it with the same.
    pub async fn store_result(&self, job: &JobId, outcome: Vec<u8>) -> Result<(), BusError> {
        let failed = |error| BusError::request("storing a result", error);
        let ack = self.js.publish(subjects::result(job), outcome.into()).await.map_err(failed)?;
        ack.await.map(drop).map_err(failed)
    }

    /// The stored outcome of a job, if there is one yet.
    pub async fn result(&self, job: &JobId) -> Result<Option<Bytes>, BusError> {
        let failed = |error: String| BusError::request("reading a result", error);
        let stream = self.js.get_stream_no_info(RESULTS).await.map_err(|error| failed(error.to_string()))?;
        match stream.get_last_raw_message_by_subject(&subjects::result(job)).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
