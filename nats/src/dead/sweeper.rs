//! The sweeper removes jobs that are done and that the broker still keeps. A server that is killed
//! may remember an acknowledgement and forget that it removed the message for it: no consumer will
//! ever deliver that message again, and it counts against the queue's limits for ever.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use futures_util::TryStreamExt;
use shoal_shared::headers;
use shoal_shared::names::JobId;
use shoal_shared::process::shutdown::Shutdown;

use super::bury::Epitaph;
use crate::connect::{Bus, BusError};
use crate::topology::JOBS;

/// How often the stream is looked at.
const INTERVAL: Duration = Duration::from_secs(10);
/// A message younger than this may be on its way out.
const SETTLED_FOR: Duration = Duration::from_secs(10);
/// Jobs removed in one round; the rest waits for the next.
const MOST: usize = 1000;

impl Bus {
    /// Sweeps until shutdown is ordered; any number may run.
    pub async fn run_sweeper(&self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.ordered() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            match self.sweep().await {
                Ok(0) => {}
                Ok(swept) => tracing::info!(swept, "removed jobs that were done and still in the stream"),
                Err(error) => tracing::debug!(%error, "sweeper pauses"),
            }
        }
    }

    /// Removes jobs that their consumer is past; gives how many there were.
    pub(crate) async fn sweep(&self) -> Result<usize, BusError> {
        let failed = |error: String| BusError::request("sweeping the jobs", error);
        let stream = self.js.get_stream(JOBS).await.map_err(|error| failed(error.to_string()))?;
        let mut left = stream.cached_info().state.messages;
        if left == 0 {
            return Ok(0);
        }
        let consumers: Vec<_> = stream.consumers().try_collect().await.map_err(|error| failed(error.to_string()))?;
        left = consumers.iter().fold(left, |left, consumer| {
            left.saturating_sub(consumer.num_pending).saturating_sub(consumer.num_ack_pending as u64)
        });
        if left == 0 {
            return Ok(0);
        }
        let mut swept = 0;
        for consumer in consumers {
            let (subject, floor) = (consumer.config.filter_subject, consumer.ack_floor.stream_sequence);
            let mut place = 0;
            while swept < MOST {
                let next = stream.raw_message_builder().sequence(place + 1).next_by_subject(&subject).send().await;
                let Ok(message) = next else { break };
                place = message.sequence;
                if place > floor {
                    break;
                }
                swept += usize::from(self.sweep_message(message).await?);
            }
        }
        Ok(swept)
    }

    async fn sweep_message(&self, message: StreamMessage) -> Result<bool, BusError> {
        let age = SystemTime::now().duration_since(message.time.into()).unwrap_or_default();
        if age < SETTLED_FOR {
            return Ok(false);
        }
        if self.has_outcome(&message.headers, message.sequence).await? {
            self.remove_job(message.sequence).await;
        } else {
            // Never seen; but an accepted job does not end in silence.
            let reason = "acknowledged according to the broker, and without an outcome".into();
            self.bury_message(message, &Epitaph { reason, attempts: 0, worker: String::new() }).await?;
        }
        Ok(true)
    }

    /// Whoever named a reply subject was answered before the acknowledgement, or has left.
    async fn has_outcome(&self, map: &HeaderMap, sequence: u64) -> Result<bool, BusError> {
        let text = |name: &str| map.get(name).map(|value| value.as_str());
        if text(headers::REPLY).is_some() {
            return Ok(true);
        }
        let id = text(headers::JOB).and_then(|id| id.parse().ok()).unwrap_or_else(|| JobId::from_sequence(sequence));
        Ok(self.result(&id).await?.is_some())
    }
}
