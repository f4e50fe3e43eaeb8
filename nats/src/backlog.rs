//! What waits in the queue, read through the JetStream API, which the consumer's leader answers:
//! monitoring endpoints of followers report stale numbers.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::TryStreamExt;
use shoal_shared::names::{Lane, ModelName};

use crate::connect::{Bus, BusError};
use crate::subjects;
use crate::topology::{CACHE, DEAD, JOBS, RESULTS};

/// Streams that people look at.
const REPORTED: [&str; 5] = [JOBS, RESULTS, DEAD, CACHE, "OBJ_shoal_uploads"];

/// The state of one lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Stored and not delivered.
    pub pending: u64,
    /// Delivered and not settled.
    pub in_flight: u64,
    /// Of those in flight, delivered more than once.
    pub redelivered: u64,
    /// Pulls waiting for jobs: idle capacity.
    pub waiting_pulls: u64,
    /// Deliveries since the consumer was made.
    pub delivered: u64,
}

impl Backlog {
    /// Deliveries that are no longer in a worker's hands.
    pub fn settled(&self) -> u64 {
        self.delivered.saturating_sub(self.in_flight)
    }
}

/// The state of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// Its name.
    pub name: String,
    /// Messages in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that it may have; -1: no bound.
    pub max_bytes: i64,
    /// Messages published to it since it was made.
    pub published: u64,
}

/// File storage of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Bytes in use.
    pub bytes: u64,
    /// Bytes that may be used; -1: no bound.
    pub max_bytes: i64,
}

impl Bus {
    /// Every stream of ours that is there.
    pub async fn streams(&self) -> Result<Vec<StreamState>, BusError> {
        let mut states = Vec::new();
        let mut streams = self.js.streams();
        while let Some(info) = streams.try_next().await.map_err(|error| BusError::request("listing streams", error))? {
            if !REPORTED.contains(&info.config.name.as_str()) {
                continue;
            }
            states.push(StreamState {
                name: info.config.name,
                messages: info.state.messages,
                bytes: info.state.bytes,
                max_bytes: info.config.max_bytes,
                published: info.state.last_sequence,
            });
        }
        Ok(states)
    }

    /// File storage of the account.
    pub async fn storage(&self) -> Result<Storage, BusError> {
        let account = self.js.query_account().await.map_err(|error| BusError::request("reading the account", error))?;
        Ok(Storage { bytes: account.storage, max_bytes: account.limits.max_storage.unwrap_or(-1) })
    }

    /// The backlog of one model's lane.
    pub async fn backlog(&self, model: &ModelName, lane: Lane) -> Result<Backlog, BusError> {
        let name = subjects::consumer(model, lane);
        let failed = |error: String| BusError::request(format!("reading consumer {name}"), error);
        let stream = self.js.get_stream_no_info(JOBS).await.map_err(|error| failed(error.to_string()))?;
        let info = stream.consumer_info(&name).await.map_err(|error| failed(error.to_string()))?;
        Ok(Backlog {
            pending: info.num_pending,
            in_flight: info.num_ack_pending as u64,
            redelivered: info.num_redelivered as u64,
            waiting_pulls: info.num_waiting as u64,
            delivered: info.delivered.consumer_sequence,
        })
    }

    /// How long the oldest job of a lane has been there; `None` when the lane is empty.
    pub async fn oldest_job(&self, model: &ModelName, lane: Lane) -> Result<Option<Duration>, BusError> {
        let failed = |error: String| BusError::request("reading the oldest job", error);
        let stream = self.js.get_stream_no_info(JOBS).await.map_err(|error| failed(error.to_string()))?;
        let oldest = stream.raw_message_builder().sequence(1).next_by_subject(subjects::job(model, lane)).send().await;
        match oldest {
            Ok(message) => Ok(Some(SystemTime::now().duration_since(message.time.into()).unwrap_or_default())),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Whether the jobs stream answers: the broker can accept jobs.
    pub async fn accepts_jobs(&self) -> bool {
        let asked = self.js.get_stream(JOBS);
        matches!(tokio::time::timeout(Duration::from_secs(1), asked).await, Ok(Ok(_)))
    }

    /// Models whose jobs the stream takes.
    pub async fn provisioned_models(&self) -> Result<Vec<ModelName>, BusError> {
        let stream =
            self.js.get_stream(JOBS).await.map_err(|error| BusError::request(format!("stream {JOBS}"), error))?;
        let mut models = Vec::new();
        for subject in &stream.cached_info().config.subjects {
            let of_lane = subjects::parse_job(subject).map(|(model, _)| model);
            models.extend(of_lane.or_else(|| subjects::parse_any_lane(subject)));
        }
        models.dedup();
        Ok(models)
    }
}
