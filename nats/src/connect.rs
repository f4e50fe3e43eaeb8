//! The connection to NATS: reconnects for ever with backoff and tells who cares when it is up.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::breaker::Breaker;
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

/// Longest wait between attempts to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// How long a publish or API request may wait for the server's answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
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
        loop {
            let (sender, connections) = watch::channel(Connections::default());
            let options = options(config, name, sender)?;
            let error = match options.connect(config.url.split(',').map(str::trim).collect::<Vec<_>>()).await {
                Ok(client) => return Ok(Self::over(client, config, connections, deadline)),
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(BusError::Unreachable { url: config.url.clone(), reason: error.to_string() });
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

    /// Whether the connection is up right now.
    pub fn is_up(&self) -> bool {
        self.connections.borrow().up
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

fn options(
    config: &BusConfig,
    name: &str,
    connections: watch::Sender<Connections>,
) -> Result<ConnectOptions, BusError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .custom_inbox_prefix(&config.inbox_prefix)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| {
            let doubled = Duration::from_millis(10) * 2u32.saturating_pow(attempt.min(16) as u32);
            doubled.min(MAX_RECONNECT_DELAY)
        })
        .ping_interval(Duration::from_secs(10))
        .connection_timeout(Duration::from_secs(3))
        .event_callback(move |event| {
            follow(&connections, &event);
            std::future::ready(())
        });
    if let Some(path) = &config.nkey_file {
        options = options.nkey(read(path)?.trim().to_owned());
    }
    if let Some(path) = &config.credentials_file {
        let bad = |error: std::io::Error| BusError::File { path: path.clone(), reason: error.to_string() };
        options = options.credentials(&read(path)?).map_err(bad)?;
    }
    if let Some(path) = &config.ca_file {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    Ok(options)
}

fn read(path: &PathBuf) -> Result<String, BusError> {
    std::fs::read_to_string(path).map_err(|error| BusError::File { path: path.clone(), reason: error.to_string() })
}

fn follow(connections: &watch::Sender<Connections>, event: &Event) {
    match event {
        Event::Connected => connections.send_modify(|state| {
            state.up = true;
            state.count += 1;
        }),
        Event::Disconnected | Event::Closed => connections.send_modify(|state| state.up = false),
        // Permission violations arrive only here; the request itself just times out.
        Event::ServerError(error) => tracing::warn!(%error, "NATS reports an error"),
        Event::ClientError(error) => tracing::warn!(%error, "NATS client error"),
        Event::SlowConsumer(_) => tracing::warn!("a subscription overflowed: messages were dropped"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop; moving to another one"),
        _ => {}
    }
}
