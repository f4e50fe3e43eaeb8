//! Carrying the routes: an accept loop with bounds on time and number, and a drain that ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use shoal_shared::process::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_service::Service;
use warp::{Filter, Reply};

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
#[derive(Clone, Copy)]
pub struct Serving {
    /// Connections at once; more wait to be accepted.
    pub max_connections: usize,
    /// How long a client may take to send its headers, and keep an idle connection.
    pub header_timeout: Duration,
    /// How long a drain may take.
    pub grace: Duration,
}

/// Serves until shutdown is ordered; then finishes what is in flight, within the grace.
pub async fn serve<F>(listener: TcpListener, routes: F, shutdown: Shutdown, serving: Serving)
where
    F: Filter<Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
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
        let routes = warp::service(routes.clone());
        let draining = shutdown.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let (answer, draining) = (routes.clone().call(request), draining.clone());
            async move {
                let mut response = answer.await?;
                if draining.is_ordered() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(serving.header_timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    drain(connections, &places, serving).await;
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

async fn drain(connections: GracefulShutdown, places: &Semaphore, serving: Serving) {
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
