//! Carrying the routes: an accept loop with bounds on time, and a drain that ends.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use shoal_shared::process::shutdown::Shutdown;
use tokio::net::TcpListener;
use warp::{Filter, Reply};

/// A client that takes longer than this to send its headers is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until shutdown is ordered; then finishes what is in flight, within `grace`.
pub async fn serve<F>(listener: TcpListener, routes: F, shutdown: Shutdown, grace: Duration)
where
    F: Filter<Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let connections = GracefulShutdown::new();
    let service = TowerToHyperService::new(warp::service(routes));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, usually: what is open will close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shutdown.ordered() => break,
        };
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!(?grace, "some connections did not finish in time");
    }
}
