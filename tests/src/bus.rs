//! What is in the streams, read without Shoal's own code.

use async_nats::{HeaderValue, jetstream};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// A connection of one's own.
pub struct Streams {
    runtime: Runtime,
    context: jetstream::Context,
}

impl Streams {
    /// Connects.
    pub fn connect(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let context = runtime.block_on(async {
            let servers: Vec<_> = url.split(',').collect();
            jetstream::new(async_nats::connect(servers).await.unwrap())
        });
        Self { runtime, context }
    }

    /// Publishes, with those headers that NATS can carry at all, and waits for the acknowledgement.
    pub fn publish(&self, subject: &str, headers: &[(String, String)], payload: Vec<u8>) {
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (name.parse::<async_nats::HeaderName>(), value.parse::<HeaderValue>()) {
                map.insert(name, value);
            }
        }
        self.runtime.block_on(async {
            let sent = self.context.publish_with_headers(subject.to_owned(), map, payload.into()).await.unwrap();
            // A damaged header of the broker's own may be refused, which is an acknowledgement too.
            let _ = sent.await;
        });
    }

    /// The stored outcome of a job; null when there is none.
    pub fn result(&self, job: &str) -> Value {
        self.runtime.block_on(async {
            let stream = self.context.get_stream_no_info("RESULTS").await.unwrap();
            let message = stream.get_last_raw_message_by_subject(&format!("results.{job}")).await;
            message.ok().and_then(|message| serde_json::from_slice(&message.payload).ok()).unwrap_or_default()
        })
    }

    /// Removes a stream.
    pub fn delete(&self, stream: &str) {
        self.runtime.block_on(self.context.delete_stream(stream)).unwrap();
    }

    /// Messages in a stream; absent while it does not answer.
    pub fn messages(&self, stream: &str) -> Option<u64> {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(stream).await.ok()?;
            Some(stream.cached_info().state.messages)
        })
    }

    /// What is in a stream and how its consumers stand, for people.
    pub fn describe(&self, stream: &str) -> String {
        use std::fmt::Write as _;
        self.runtime.block_on(async {
            let Ok(stream) = self.context.get_stream(stream).await else { return "does not answer".to_owned() };
            let state = &stream.cached_info().state;
            let mut text = format!("{state:?}\n");
            let mut consumers = stream.consumers();
            while let Some(Ok(consumer)) = futures_util::StreamExt::next(&mut consumers).await {
                let _ = writeln!(text, "{consumer:?}");
            }
            for sequence in state.first_sequence..=state.last_sequence.min(state.first_sequence + 100_000) {
                if let Ok(message) = stream.get_raw_message(sequence).await {
                    let _ = writeln!(text, "{sequence} {} {} {:?}", message.subject, message.time, message.headers);
                }
                if text.len() > 20_000 {
                    break;
                }
            }
            text
        })
    }

    /// Whether a stream of a cluster has a leader and every copy has caught up.
    pub fn is_whole(&self, stream: &str) -> bool {
        self.runtime.block_on(async {
            let Ok(stream) = self.context.get_stream(stream).await else { return false };
            stream.cached_info().cluster.as_ref().is_some_and(|cluster| {
                let caught_up = |copy: &jetstream::stream::PeerInfo| copy.current && !copy.offline;
                cluster.leader.is_some() && cluster.replicas.iter().all(caught_up)
            })
        })
    }

    /// The server that leads a stream of a cluster.
    pub fn leader(&self, stream: &str) -> Option<String> {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(stream).await.ok()?;
            stream.cached_info().cluster.as_ref()?.leader.clone()
        })
    }
}
