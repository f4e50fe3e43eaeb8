//! What NATS alone can do: jobs through a work queue in a file and back, with nothing done to them. Published and acknowledged,
//! pulled, answered on an inbox, acknowledged; the least that any system on JetStream has to pay for a job that must not
//! be lost. `make bench` holds the path against it.
//!
//! `bare_loop NATS_URL BYTES SECONDS IN_FLIGHT` prints jobs a second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement, not a service")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::pull, stream};
use bytes::Bytes;
use futures_util::StreamExt;

const STREAM: &str = "BARE_LOOP";
const JOBS: &str = "bare_loop.jobs";
const REPLY: &str = "Reply";
/// As many bytes as a prediction with five classes.
const ANSWER: &[u8] = &[0; 250];

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, bytes, seconds, in_flight] = args.as_slice() else { panic!("see the top of this file") };
    let (bytes, in_flight): (usize, usize) = (bytes.parse().unwrap(), in_flight.parse().unwrap());
    let time = Duration::from_secs_f64(seconds.parse().unwrap());
    // As a gateway and a worker: a connection each.
    let (gateway, worker) = (async_nats::connect(url).await.unwrap(), async_nats::connect(url).await.unwrap());
    let js = jetstream::new(gateway.clone());
    let _ = js.delete_stream(STREAM).await;
    let config = stream::Config {
        name: STREAM.into(),
        subjects: vec![JOBS.into()],
        retention: stream::RetentionPolicy::WorkQueue,
        storage: stream::StorageType::File,
        ..stream::Config::default()
    };
    js.create_stream(config).await.unwrap();
    let answering = tokio::spawn(answer(worker, in_flight));

    let done = Arc::new(AtomicU64::new(0));
    let payload = Bytes::from(vec![7; bytes]);
    let asking: Vec<_> =
        (0..in_flight).map(|_| tokio::spawn(ask(gateway.clone(), payload.clone(), done.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (begun, before) = (Instant::now(), done.load(Ordering::Relaxed));
    tokio::time::sleep(time).await;
    println!("{:.1}", (done.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64());
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    answering.abort();
    js.delete_stream(STREAM).await.unwrap();
}

/// One job after the other.
async fn ask(client: async_nats::Client, payload: Bytes, done: Arc<AtomicU64>) {
    let (js, inbox) = (jetstream::new(client.clone()), client.new_inbox());
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(REPLY, inbox.as_str());
    loop {
        let published = js.publish_with_headers(JOBS, headers.clone(), payload.clone()).await.unwrap();
        let (stored, answered) = tokio::join!(published, answers.next());
        stored.unwrap();
        answered.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn answer(client: async_nats::Client, in_flight: usize) {
    let stream = jetstream::new(client.clone()).get_stream(STREAM).await.unwrap();
    let config = pull::Config { durable_name: Some("worker".into()), max_ack_pending: 1000, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut jobs = consumer.stream().max_messages_per_batch(in_flight.max(2)).messages().await.unwrap();
    while let Some(Ok(job)) = jobs.next().await {
        let reply = job.headers.as_ref().and_then(|headers| headers.get(REPLY)).unwrap().to_string();
        client.publish(reply, ANSWER.into()).await.unwrap();
        job.ack().await.unwrap();
    }
}
