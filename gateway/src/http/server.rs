//! Carrying the routes: an accept loop with bounds on time and number, and a drain that ends.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use shoal_shared::process::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_service::Service;
use warp::{Filter, Reply};

use super::door::Door;
use super::tls::Tls;

/// Headers a request may have; more is `431`.
const MAX_HEADERS: usize = 100;
/// Bytes of headers that are buffered; more is `431`.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long idle connections are kept during a drain. A client that sends its next request within
/// this time is answered, and told to connect anew; closing at once would break that request.
const LINGER: Duration = Duration::from_secs(2);

/// Address that a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// How to serve.
pub(crate) struct Serving {
    /// What every request goes through first.
    pub(crate) door: Door,
    /// Encryption, when it is wanted.
    pub(crate) tls: Option<Tls>,
    /// Connections at once; more wait to be accepted.
    pub(crate) max_connections: usize,
    /// How long a client may take to send its headers, and keep an idle connection.
    pub(crate) header_timeout: Duration,
    /// How long a drain may take.
    pub(crate) grace: Duration,
}

/// Serves until shutdown is ordered; then finishes what is in flight, within the grace.
pub(crate) async fn serve<F>(listener: TcpListener, routes: F, shutdown: Shutdown, serving: Serving)
where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let places = Arc::new(Semaphore::new(serving.max_connections));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.ordered() => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let service = service(routes.clone(), peer, serving.door.clone(), shutdown.clone());
        let (watcher, tls, header_timeout) = (connections.watcher(), serving.tls.clone(), serving.header_timeout);
        tokio::spawn(async move {
            let _place = place;
            let ended = match tls {
                None => carry(TokioIo::new(stream), service, header_timeout, watcher).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => carry(TokioIo::new(stream), service, header_timeout, watcher).await,
                    Err(error) => return tracing::debug!(%error, "no TLS handshake"),
                },
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    drain(connections, &places, &serving).await;
}

/// The routes behind the door, for the requests of one connection.
fn service<F>(
    routes: F,
    peer: IpAddr,
    door: Door,
    draining: Shutdown,
) -> impl hyper::service::Service<hyper::Request<Incoming>, Response = warp::reply::Response, Error = Infallible, Future: Send>
where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let routes = warp::service(routes);
    hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let (mut routes, door, draining) = (routes.clone(), door.clone(), draining.clone());
        async move {
            let enter = |request| async move { routes.call(request).await.unwrap_or_else(|never| match never {}) };
            let mut response = door.pass(request, peer, enter).await;
            if draining.is_ordered() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    })
}

async fn carry<I, S>(io: I, service: S, header_timeout: Duration, watcher: Watcher) -> Result<(), hyper::Error>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::Service<
            hyper::Request<Incoming>,
            Response = warp::reply::Response,
            Error = Infallible,
            Future: Send,
        > + Send
        + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(io, service);
    watcher.watch(connection).await
}

type Accepted = (TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, peer.ip(), place))
        }
        Err(error) => {
            // Out of descriptors, usually: what is open will close.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn drain(connections: GracefulShutdown, places: &Semaphore, serving: &Serving) {
    let until_all_are_gone = async {
        while places.available_permits() < serving.max_connections {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(LINGER, until_all_are_gone).await.is_ok() {
        return;
    }
    if tokio::time::timeout(serving.grace, connections.shutdown()).await.is_err() {
        tracing::warn!(grace = ?serving.grace, "some connections did not finish in time");
    }
}
