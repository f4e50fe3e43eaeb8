//! Large uploads against a real nats-server, and what the `nats` command makes of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use shoal_nats::publish::{Image, NewJob};
use shoal_nats::puller::Puller;
use shoal_nats::topology::TopologyConfig;
use shoal_nats::uploads::{Stored, Uploads};
use shoal_nats::{Bus, BusConfig};
use shoal_shared::digest::ImageSha256;
use shoal_shared::headers::ACCEPT_JSON;
use shoal_shared::locate;
use shoal_shared::names::{JobId, Lane, ModelName};
use shoal_shared::process::shutdown::Shutdown;
use shoal_shared::trace::Trace;
use shoal_testkit::bus::Streams;
use shoal_testkit::nats::{NatsServer, Setup};
use tempfile::TempDir;
use tokio::sync::mpsc;

const BUCKET: &str = "OBJ_shoal_uploads";
/// Of two parts, where a message takes eight megabytes.
const LARGE: usize = 9_000_000;

async fn bucket(server: &NatsServer) -> (Bus, Uploads) {
    let config = BusConfig { url: server.url(), ..BusConfig::default() };
    let bus = Bus::connect(&config, "test", Duration::from_secs(10)).await.unwrap();
    bus.ensure(&["m".parse().unwrap()]).await.unwrap();
    let uploads = Uploads::open(&bus).await.unwrap();
    (bus, uploads)
}

fn upload(len: usize, seed: u8) -> Bytes {
    (0..len).map(|at| (at / 251 * 7 + at) as u8 ^ seed).collect::<Vec<u8>>().into()
}

fn messages(server: &NatsServer) -> u64 {
    let url = server.url();
    // A runtime of its own, which must not be in another.
    std::thread::spawn(move || Streams::connect(&url).messages(BUCKET).unwrap()).join().unwrap()
}

async fn put(uploads: &Uploads, name: &str, image: &Bytes) {
    uploads.put(name, image, &ImageSha256::of(image)).await.unwrap();
}

async fn get(uploads: &Uploads, name: &str) -> Option<Bytes> {
    uploads.get(name, 2 * LARGE).await.unwrap().image()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_as_few_messages_as_the_server_allows_and_none_once_removed() {
    let server = NatsServer::start();
    let (_bus, uploads) = bucket(&server).await;
    for (len, parts) in [(1, 1), (2_000_000, 1), (LARGE, 2)] {
        let image = upload(len, 1);
        put(&uploads, "photo", &image).await;
        assert_eq!(messages(&server), parts + 1);
        assert!(get(&uploads, "photo").await.unwrap() == image, "{len} bytes");
        let refused = uploads.get("photo", len - 1).await.unwrap();
        assert!(matches!(refused, Stored::TooLarge(found) if found == len), "{refused:?}");
        uploads.remove("photo").await;
        assert_eq!(messages(&server), 0);
        assert!(matches!(uploads.get("photo", LARGE).await.unwrap(), Stored::Gone));
        uploads.remove("photo").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_no_name_is_not_there() {
    let server = NatsServer::start();
    let (_bus, uploads) = bucket(&server).await;
    for name in [String::new(), "n".repeat(10_000), "*.>".into(), "a name\r\nwith lines".into()] {
        assert!(matches!(uploads.get(&name, LARGE).await.unwrap(), Stored::Gone), "{name}");
    }
    put(&uploads, "photo", &upload(10, 1)).await;
    assert!(get(&uploads, "photo").await.is_some(), "the connection is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_messages_are_short_an_upload_has_more_of_them() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("server.conf");
    let shipped = std::fs::read_to_string(Setup::shipped("server.conf").config).unwrap();
    assert!(shipped.contains("max_payload: 8MB"));
    // The server's own default.
    std::fs::write(&config, shipped.replace("max_payload: 8MB", "max_payload: 1MB")).unwrap();
    let server = NatsServer::start_as(TempDir::new().unwrap(), Setup { config, ..Setup::shipped("server.conf") });
    let config = BusConfig { url: server.url(), ..BusConfig::default() };
    let bus = Bus::connect(&config, "test", Duration::from_secs(10)).await.unwrap();
    assert_eq!(bus.max_payload(), 1 << 20);
    bus.ensure(&["m".parse().unwrap()]).await.unwrap();
    let uploads = Uploads::open(&bus).await.unwrap();
    let image = upload(3_000_000, 2);
    put(&uploads, "photo", &image).await;
    assert_eq!(messages(&server), 5);
    assert!(get(&uploads, "photo").await.unwrap() == image);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_image_takes_the_place_of_the_older() {
    let server = NatsServer::start();
    let (_bus, uploads) = bucket(&server).await;
    for image in [upload(LARGE, 3), upload(500, 4)] {
        uploads.replace("photo", &image, &ImageSha256::of(&image)).await.unwrap();
        assert!(get(&uploads, "photo").await.unwrap() == image);
    }
    assert_eq!(messages(&server), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_command_reads_what_was_stored_and_what_it_stores_is_read() {
    let Some(cli) = locate::nats_cli() else {
        return eprintln!("skipped: no `nats` command here (`deploy/setup.sh --tests` builds it where Go is)");
    };
    let server = NatsServer::start();
    let (_bus, uploads) = bucket(&server).await;
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let nats = |args: &[&str]| {
        let output = Command::new(&cli).args(["--server", &server.url(), "object"]).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    };
    let image = upload(LARGE, 5);
    put(&uploads, "ours", &image).await;
    nats(&["get", "shoal_uploads", "ours", "--output", ours.to_str().unwrap(), "--force", "--no-progress"]);
    assert!(std::fs::read(&ours).unwrap() == image);

    let image = upload(1_000_000, 6);
    std::fs::write(&theirs, &image).unwrap();
    nats(&["put", "shoal_uploads", theirs.to_str().unwrap(), "--name", "theirs", "--force", "--no-progress"]);
    assert!(get(&uploads, "theirs").await.unwrap() == image);
    uploads.remove("theirs").await;
    uploads.remove("ours").await;
    assert_eq!(messages(&server), 0);
}

/// Nobody settles it, so the broker gives it up: its image is in the letter then, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn the_upload_of_a_job_that_is_given_up_goes_into_its_letter() {
    let server = NatsServer::start();
    let topology = TopologyConfig { ack_wait: Duration::from_millis(200), max_deliver: 1, ..TopologyConfig::default() };
    let config = BusConfig { url: server.url(), topology, ..BusConfig::default() };
    let bus = Bus::connect(&config, "test", Duration::from_secs(10)).await.unwrap();
    let model: ModelName = "m".parse().unwrap();
    bus.ensure(std::slice::from_ref(&model)).await.unwrap();
    let uploads = Uploads::open(&bus).await.unwrap();
    let image = upload(2_000_000, 7);
    put(&uploads, "photo", &image).await;
    let id = JobId::mint();
    let job = NewJob {
        id: id.clone(),
        model: model.clone(),
        lane: Lane::Bulk,
        image: Image::Object("photo".into()),
        digest: ImageSha256::of(&image),
        vouch: None,
        deadline: None,
        reply: None,
        accept: ACCEPT_JSON,
        top_k: None,
        no_store: false,
        once: false,
        trace: Trace::of(None, None),
    };
    bus.publish_job(job).await.unwrap();
    let (sender, mut deliveries) = mpsc::channel(1);
    let puller = Puller::attach(&bus, &model, Lane::Bulk, 1, sender).await.unwrap();
    let stop = Shutdown::new();
    stop.spawn(puller.run(stop.clone()));
    let (undertaker, until) = (bus.clone(), stop.clone());
    stop.spawn(async move { undertaker.run_undertaker(until).await });
    drop(deliveries.recv().await.unwrap());
    let outcome = bus.await_result(&id, Duration::from_secs(20)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&outcome).contains("dead_lettered"));
    while messages(&server) > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let letters = context.get_stream("DEAD").await.unwrap();
    let letter = letters.get_last_raw_message_by_subject("dead.m.bulk").await.unwrap();
    assert!(letter.payload == image);
}
