//! The closed loop: keep-alive connections, each sending the next request when the last is
//! answered. Its latency says how long a patient client waits, not how long arrivals would.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::record::{Outcome, Record};
use crate::unique::Picture;

/// A run.
#[derive(Clone)]
pub struct Plan {
    /// Where to post.
    pub url: Uri,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// How long.
    pub duration: Duration,
    /// What to send, in turn.
    pub pictures: Arc<Vec<Picture>>,
    /// Pause of each connection between an answer and its next request, drawn from this range.
    pub think: RangeInclusive<Duration>,
    /// Wait as long as a refusal asks for, with the same image.
    pub obey: bool,
    /// First number; another run with another one sends other bodies.
    pub first: u64,
}

/// Runs to the end; gives what was seen and how long it took.
pub async fn run(plan: Plan) -> anyhow::Result<(Record, Duration)> {
    let host = plan.url.host().context("the URL needs a host")?;
    let address = format!("{host}:{}", plan.url.port_u16().unwrap_or(80));
    let numbers = Arc::new(AtomicU64::new(plan.first));
    let begun = Instant::now();
    let until = begun + plan.duration;
    let users: Vec<_> = (0..plan.connections)
        .map(|_| tokio::spawn(user(plan.clone(), address.clone(), numbers.clone(), until)))
        .collect();
    let mut record = Record::new();
    for user in users {
        record.merge(&user.await?);
    }
    Ok((record, begun.elapsed()))
}

async fn user(plan: Plan, address: String, numbers: Arc<AtomicU64>, until: Instant) -> Record {
    let mut record = Record::new();
    let mut connection = None;
    let mut refused = None;
    // Not all at the same moment.
    think(&plan, Duration::ZERO).await;
    while Instant::now() < until {
        let number = refused.take().unwrap_or_else(|| numbers.fetch_add(1, Ordering::Relaxed));
        let picture = &plan.pictures[(number % plan.pictures.len() as u64) as usize];
        let body = Bytes::from(picture.body(number));
        let begun = Instant::now();
        match exchange(&mut connection, &plan.url, &address, body).await {
            Ok(response) => {
                let source = response.headers().get("x-cache").and_then(|value| value.to_str().ok());
                let outcome = outcome(&response);
                record.add(begun.elapsed(), &outcome, source);
                if plan.obey && outcome == Outcome::Refused {
                    refused = Some(number);
                    tokio::time::sleep(retry_after(&response)).await;
                    continue;
                }
            }
            Err(_) => {
                connection = None;
                record.add(begun.elapsed(), &Outcome::Transport, None);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        think(&plan, *plan.think.start()).await;
    }
    record
}

async fn think(plan: &Plan, least: Duration) {
    let most = plan.think.end().as_micros() as u64;
    if most > 0 {
        tokio::time::sleep(Duration::from_micros(fastrand::u64(least.as_micros() as u64..=most))).await;
    }
}

fn retry_after<B>(response: &Response<B>) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

type Connection = SendRequest<Full<Bytes>>;

async fn exchange(
    connection: &mut Option<Connection>,
    url: &Uri,
    address: &str,
    body: Bytes,
) -> anyhow::Result<Response<Bytes>> {
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        *connection = Some(connect(address).await?);
    }
    let sender = connection.as_mut().context("just connected")?;
    sender.ready().await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path).header(HOST, address).header(CONTENT_TYPE, "image/jpeg").body(Full::new(body))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

async fn connect(address: &str) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn outcome<B>(response: &Response<B>) -> Outcome {
    let status = response.status().as_u16();
    match status {
        200..=299 | 304 => Outcome::Ok,
        429 | 503 if response.headers().contains_key(RETRY_AFTER) => Outcome::Refused,
        _ => Outcome::Status(status),
    }
}
