//! The connection to NATS: reconnects for ever with backoff and tells who cares when it is up.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use async_nats::{Client, Event};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::breaker::Breaker;
use crate::denied::Denied;
use crate::identity::{hint, options, refusal};
use crate::topology::TopologyConfig;

/// How to reach NATS, and the shape of what is kept there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// Server addresses, comma separated.
    pub url: String,
    /// File with the user's nkey seed.
    pub nkey_file: Option<PathBuf>,
    /// File with JWT credentials.
    pub credentials_file: Option<PathBuf>,
    /// Certificate authority for TLS.
    pub ca_file: Option<PathBuf>,
    /// Certificate by which the server is to know this process, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Private key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Prefix of this process's private inboxes; must begin with `_INBOX`.
    pub inbox_prefix: String,
    /// Streams, consumers and buckets.
    pub topology: TopologyConfig,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            nkey_file: None,
            credentials_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            inbox_prefix: "_INBOX".into(),
            topology: TopologyConfig::default(),
        }
    }
}

/// Why the bus cannot do what was asked, by what the caller can do about it.
#[derive(Debug, Error)]
pub enum BusError {
    /// No server answers at the address.
    #[error("NATS is not reachable at {url}: {reason}")]
    Unreachable {
        /// The address tried.
        url: String,
        /// What the client library said.
        reason: String,
    },
    /// A server answers and does not let this process in, or it is not to be trusted.
    #[error("NATS at {url} refuses the connection: {reason}")]
    Refused {
        /// The address tried.
        url: String,
        /// What is wrong, and where to set it right.
        reason: String,
    },
    /// A local file needed for the connection cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What exists on the server conflicts with what is wanted.
    #[error("{0}")]
    Conflict(String),
    /// The server takes requests and answers none.
    #[error("NATS takes requests and does not answer")]
    Silent,
    /// The server refused or did not answer.
    #[error("{what}: {reason}")]
    Request {
        /// What was asked.
        what: String,
        /// What came back.
        reason: String,
    },
}

impl BusError {
    pub(crate) fn request(what: impl Into<String>, reason: impl ToString) -> Self {
        BusError::Request { what: what.into(), reason: reason.to_string() }
    }
}

/// How long a publish or API request may wait for the server's answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How a refused subscription to this process's own answers begins: without it nothing is answered.
const OWN_INBOX: &str = "subscribe to _INBOX";
/// Publishes that may wait for their acknowledgement at once.
const MAX_PUBLISHES_IN_FLIGHT: usize = 4096;

/// One connection, shared by everything in a process. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) js: Context,
    pub(crate) topology: TopologyConfig,
    url: String,
    connections: watch::Receiver<Connections>,
    patient_until: Instant,
    pub(crate) breaker: Breaker,
    denied: Denied,
}

/// State of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Whether the connection is up.
    pub up: bool,
    /// How often it was established: grows with every reconnect.
    pub count: u64,
}

impl Bus {
    /// Connects, trying for `patience`; afterwards the connection re-establishes itself for ever.
    pub async fn connect(config: &BusConfig, name: &str, patience: Duration) -> Result<Self, BusError> {
        let deadline = Instant::now() + patience;
        let mut is_told = false;
        loop {
            let (sender, connections) = watch::channel(Connections::default());
            let denied = Denied::default();
            let options = options(config, name)?.event_callback({
                let denied = denied.clone();
                move |event| {
                    follow(&sender, &denied, &event);
                    std::future::ready(())
                }
            });
            let error = match options.connect(config.url.split(',').map(str::trim).collect::<Vec<_>>()).await {
                Ok(client) => {
                    let bus = Self::over(client, config, connections, deadline);
                    return Ok(Self { denied, ..bus });
                }
                Err(error) => error,
            };
            if let Some(reason) = refusal(&error) {
                return Err(BusError::Refused { url: config.url.clone(), reason });
            }
            if Instant::now() >= deadline {
                return Err(BusError::Unreachable { url: config.url.clone(), reason: hint(&error) });
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::info!(url = config.url, ?patience, reason = hint(&error), "NATS is not reachable yet");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn over(
        client: Client,
        config: &BusConfig,
        connections: watch::Receiver<Connections>,
        patient_until: Instant,
    ) -> Self {
        let js = jetstream::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .max_ack_inflight(MAX_PUBLISHES_IN_FLIGHT)
            .build(client.clone());
        Self {
            client,
            js,
            topology: config.topology.clone(),
            url: config.url.clone(),
            connections,
            patient_until,
            breaker: Breaker::default(),
            denied: Denied::default(),
        }
    }

    /// Looks something up that `shoal provision` made. While the process starts, a broker that is
    /// itself starting, or electing a leader, is given time.
    pub(crate) async fn lookup<T, E, F>(&self, what: &str, ask: impl Fn() -> F) -> Result<T, BusError>
    where
        E: Display,
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let error = match ask().await {
                Ok(found) => return Ok(found),
                Err(error) => error.to_string(),
            };
            // The request itself only times out. What it was about is a token of what it asked for.
            let about = what.rsplit(' ').next().unwrap_or_default();
            if let Some(denied) = self.denied.about(|what| what.contains(about) || what.contains(OWN_INBOX)) {
                return Err(BusError::request(what.to_owned(), format!("NATS does not let this user {denied}")));
            }
            if error.contains("not found") {
                let what = format!("{what} (made by `shoal up` or `shoal provision`)");
                return Err(BusError::request(what, error));
            }
            if Instant::now() >= self.patient_until {
                return Err(BusError::request(what.to_owned(), error));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// An error when the server has refused something since the connection was made: a process that starts
    /// with a wrong user would only ever time out.
    pub fn check_permissions(&self) -> Result<(), BusError> {
        match self.denied.about(|_| true) {
            None => Ok(()),
            Some(what) => {
                let reason = format!("it does not let this user {what} (nats/accounts.conf, nats.inbox_prefix)");
                Err(BusError::Refused { url: self.url.clone(), reason })
            }
        }
    }

    /// Whether the connection is up right now.
    pub fn is_up(&self) -> bool {
        self.connections.borrow().up
    }

    /// Whether the broker takes requests and does not answer: heartbeats do not come through either, then.
    pub fn is_silent(&self) -> bool {
        self.breaker.is_silent()
    }

    /// Follows the connection's state.
    pub fn connections(&self) -> watch::Receiver<Connections> {
        self.connections.clone()
    }

    /// The configured address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Longest payload the server accepts in one message.
    pub fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Sends what is buffered; call before leaving.
    pub async fn flush(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.client.flush()).await;
    }

    /// Publishes without persistence: answers, heartbeats.
    pub async fn send(&self, subject: String, payload: Vec<u8>) -> Result<(), BusError> {
        self.client.publish(subject, payload.into()).await.map_err(|error| BusError::request("publish", error))
    }
}

fn follow(connections: &watch::Sender<Connections>, denied: &Denied, event: &Event) {
    match event {
        Event::Connected => {
            denied.forget();
            connections.send_modify(|state| {
                state.up = true;
                state.count += 1;
            });
        }
        Event::Disconnected | Event::Closed => connections.send_modify(|state| state.up = false),
        // Permission violations arrive only here; the request itself just times out.
        Event::ServerError(error) if denied.hear(&error.to_string()) => {}
        Event::ServerError(error) => tracing::warn!(%error, "NATS reports an error"),
        Event::ClientError(error) => tracing::warn!(%error, "NATS client error"),
        Event::SlowConsumer(_) => tracing::warn!("a subscription overflowed: messages were dropped"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop; moving to another one"),
        _ => {}
    }
}
