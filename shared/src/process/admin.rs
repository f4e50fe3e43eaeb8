//! A worker's admin server: `/metrics`, `/healthz` (the process lives), `/readyz` (it takes jobs).

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::shutdown::Shutdown;
use crate::metrics;

/// Serves until shutdown is ordered; readiness follows `ready`. Returns the bound address.
pub fn serve(
    listener: TcpListener,
    registry: Registry,
    ready: watch::Receiver<bool>,
    shutdown: Shutdown,
) -> std::io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    shutdown.clone().spawn(async move {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => continue,
                },
                () = shutdown.ordered() => return,
            };
            let (registry, ready) = (registry.clone(), ready.clone());
            let answer = service_fn(move |request| {
                let response = respond(&request, &registry, *ready.borrow());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

fn respond(request: &Request<Incoming>, registry: &Registry, ready: bool) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let (status, kind, body) = match request.uri().path() {
        "/metrics" => {
            let scrape = metrics::scrape(registry, None, accept);
            (StatusCode::OK, scrape.content_type, scrape.body)
        }
        "/healthz" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" if ready => (StatusCode::OK, "text/plain", "ready\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "/metrics /healthz /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
