//! One HTTP/1.1 connection, opened when it is needed and again when it is gone.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

use crate::body::Pieces;
use crate::outcome::Outcome;
use crate::scenario::Target;

/// Where connections go, and how.
#[derive(Clone)]
pub struct Destination {
    address: SocketAddr,
    host: HeaderValue,
    keep_alive: bool,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is the target's.
    Theirs(Outcome),
    /// This machine has no local port or descriptor left.
    Ours,
}

/// A connection that is there, or will be. One request at a time.
pub struct Connection {
    source: Option<IpAddr>,
    open: Option<SendRequest<Pieces>>,
}

/// Largest body that is read.
const MAX_ANSWER: usize = 16 << 20;

impl Destination {
    /// Resolves the target's name, once.
    pub async fn resolve(target: &Target) -> anyhow::Result<Self> {
        let uri = target.uri().map_err(anyhow::Error::msg)?;
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        let name = host.trim_matches(['[', ']']);
        let address = tokio::net::lookup_host((name, port)).await.with_context(|| format!("looking up {name}"))?;
        // A source address decides which family can be used.
        let fits = |address: &SocketAddr| target.sources.first().is_none_or(|s| s.is_ipv4() == address.is_ipv4());
        let address = address.into_iter().find(fits).with_context(|| format!("{name} has no usable address"))?;
        let host = HeaderValue::try_from(format!("{host}:{port}"))?;
        Ok(Self { address, host, keep_alive: target.keep_alive, timeout: target.timeout })
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Connection {
    /// Not open yet.
    pub fn new(source: Option<IpAddr>) -> Self {
        Self { source, open: None }
    }

    /// Sends a request and reads the answer, within the destination's time.
    pub async fn exchange(&mut self, to: &Destination, request: Request<Pieces>) -> Result<Response<Bytes>, Trouble> {
        let answer = tokio::time::timeout(to.timeout, self.unhurried(to, request)).await;
        let answer = answer.unwrap_or(Err(Trouble::Theirs(Outcome::Timeout)));
        if answer.is_err() || !to.keep_alive {
            self.open = None;
        }
        answer
    }

    async fn unhurried(&mut self, to: &Destination, mut request: Request<Pieces>) -> Result<Response<Bytes>, Trouble> {
        request.headers_mut().insert(HOST, to.host.clone());
        if !to.keep_alive {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let closed = Trouble::Theirs(Outcome::Closed);
        let sender = self.ready(to).await?;
        let answer = match sender.try_send_request(request).await {
            Ok(answer) => answer,
            // An idle connection was closed at the very moment: nothing was sent, as every client
            // library does it goes out again on a new one.
            Err(mut error) => {
                let unsent = error.take_message().ok_or(closed)?;
                self.open = None;
                self.ready(to).await?.send_request(unsent).await.map_err(|_| closed)?
            }
        };
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| closed)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn ready(&mut self, to: &Destination) -> Result<&mut SendRequest<Pieces>, Trouble> {
        if let Some(sender) = self.open.as_mut()
            && (sender.is_closed() || sender.ready().await.is_err())
        {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(connect(to.address, self.source).await?);
        }
        self.open.as_mut().ok_or(Trouble::Ours)
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> Result<SendRequest<Pieces>, Trouble> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|_| Trouble::Ours)?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0)).map_err(|_| Trouble::Ours)?;
    }
    let stream = socket.connect(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::AddrInUse => Trouble::Ours,
        _ => Trouble::Theirs(Outcome::Unreachable),
    })?;
    stream.set_nodelay(true).map_err(|_| Trouble::Theirs(Outcome::Closed))?;
    let shaken = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|_| Trouble::Theirs(Outcome::Closed))?;
    tokio::spawn(connection);
    Ok(sender)
}
