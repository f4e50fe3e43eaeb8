//! The limit for repeated images: a warp handler that reads and hashes the body, and nothing else.
//! `make bench-cache` holds the gateway against it.

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use shoal_shared::digest::{DigestKind, Hasher};
use warp::Filter;

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8999);
    let hash = warp::path!("predict").and(warp::post()).and(warp::body::stream()).then(digest);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    warp::serve(hash).run(address).await;
}

async fn digest(mut body: impl Stream<Item = Result<impl Buf, warp::Error>> + Unpin) -> String {
    let mut hasher = Hasher::new(DigestKind::Sha256);
    while let Some(Ok(mut chunk)) = body.next().await {
        let chunk: Bytes = chunk.copy_to_bytes(chunk.remaining());
        hasher.update(&chunk);
    }
    hasher.finish().to_string()
}
