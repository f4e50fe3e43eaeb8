//! Calls to be made about jobs: a work queue with two states. A call is `waiting` until its job has
//! an outcome and `due` from then on; deliveries of a due one count the attempts. Any gateway
//! makes any call, and one that dies over it leaves it to the next.

use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use shoal_shared::names::{JobId, Owner};

use crate::connect::{Bus, BusError};
use crate::topology::WEBHOOKS;

/// A call to be made about a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The job.
    pub job: JobId,
    /// Whose job.
    pub owner: Owner,
    /// Where to.
    pub url: String,
    /// Outcomes that are told: `done`, `failed`, `expired`, `cancelled`; none named means all.
    #[serde(default)]
    pub events: Vec<String>,
    /// W3C trace context of the request that submitted the job.
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// A call in this gateway's hands.
pub struct Taken {
    /// What it is.
    pub call: Call,
    /// Times that it was handed out, this one included.
    pub attempt: u32,
    message: Message,
}

impl Taken {
    /// It is done with.
    pub async fn done(self) {
        if let Err(error) = self.message.ack().await {
            tracing::debug!(%error, "a webhook's end was not acknowledged");
        }
    }

    /// Try again after a while.
    pub async fn later(self, delay: Duration) {
        let _ = self.message.ack_with(AckKind::Nak(Some(delay))).await;
    }
}

/// The calls in one state.
pub struct Calls {
    consumer: PullConsumer,
    batch: Option<pull::Batch>,
}

/// Few at a time: what one gateway holds, no other can call about.
const BATCH: usize = 32;
/// How long a request for calls stays with the broker.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after an error.
const PAUSE: Duration = Duration::from_secs(1);

impl Bus {
    /// Writes down that somebody wants to be called.
    pub async fn want_call(&self, call: &Call) -> Result<(), BusError> {
        self.put_call("waiting", call).await
    }

    /// The job has an outcome: the call can be made.
    pub async fn call_is_due(&self, call: &Call) -> Result<(), BusError> {
        self.put_call("due", call).await
    }

    async fn put_call(&self, state: &str, call: &Call) -> Result<(), BusError> {
        let failed = |error| BusError::request("writing a webhook down", error);
        let body = serde_json::to_vec(call).unwrap_or_default();
        let published = self.js.publish(format!("webhooks.{state}"), body.into()).await.map_err(failed)?;
        published.await.map(drop).map_err(failed)
    }

    /// Follows the calls in a state, `waiting` or `due`.
    pub async fn calls(&self, state: &str) -> Result<Calls, BusError> {
        let failed = |error: String| BusError::request("following webhooks", error);
        let name = format!("webhooks-{state}");
        let found = self.js.get_consumer_from_stream(&name, WEBHOOKS).await;
        let consumer: PullConsumer = found.map_err(|error| failed(error.to_string()))?;
        Ok(Calls { consumer, batch: None })
    }
}

impl Calls {
    /// The next call.
    pub async fn next(&mut self) -> Taken {
        loop {
            match self.pull().await {
                Ok(Some(message)) => {
                    let attempt = message.info().map_or(1, |info| info.delivered.max(1) as u32);
                    match serde_json::from_slice(&message.payload) {
                        Ok(call) => return Taken { call, attempt, message },
                        Err(_) => drop(message.ack_with(AckKind::Term).await),
                    }
                }
                Ok(None) => self.batch = None,
                Err(error) => {
                    tracing::debug!(%error, "webhooks: the broker did not answer");
                    self.batch = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn pull(&mut self) -> Result<Option<Message>, async_nats::Error> {
        let batch = match self.batch.take() {
            Some(batch) => self.batch.insert(batch),
            None => {
                let batch = self.consumer.batch().max_messages(BATCH).expires(PATIENCE).messages().await?;
                self.batch.insert(batch)
            }
        };
        batch.next().await.transpose()
    }
}
