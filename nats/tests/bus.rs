//! The bus against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::time::{Duration, SystemTime};

use shoal_nats::cache::{self, SharedCache};
use shoal_nats::claims::Claims;
use shoal_nats::delivery::Delivery;
use shoal_nats::peers::Peers;
use shoal_nats::publish::{Image, NewJob, Refused};
use shoal_nats::puller::Puller;
use shoal_nats::topology::TopologyConfig;
use shoal_nats::{Bus, BusConfig, BusError};
use shoal_shared::digest::{CacheKey, ImageKey, ImageSha256, ModelDigest};
use shoal_shared::headers::{ACCEPT_JSON, Deadline};
use shoal_shared::manifest::Manifest;
use shoal_shared::names::{JobId, Lane, ModelName, NodeId, Owner};
use shoal_shared::prediction::Prediction;
use shoal_shared::process::shutdown::Shutdown;
use shoal_testkit::nats::NatsServer;
use tokio::sync::mpsc;

fn model() -> ModelName {
    "m".parse().unwrap()
}

async fn bus(server: &NatsServer, topology: TopologyConfig) -> Bus {
    let config = BusConfig { url: server.url(), topology, ..BusConfig::default() };
    Bus::connect(&config, "test", Duration::from_secs(10)).await.unwrap()
}

fn job(lane: Lane) -> NewJob {
    NewJob {
        id: JobId::mint(),
        model: model(),
        lane,
        image: Image::Inline("picture".into()),
        digest: ImageSha256::of(b"picture"),
        vouch: None,
        deadline: None,
        reply: None,
        accept: ACCEPT_JSON,
        top_k: Some(3),
        no_store: false,
        once: false,
        trace: shoal_shared::trace::Trace::of(None, None),
    }
}

async fn pull(bus: &Bus, lane: Lane, capacity: usize) -> (mpsc::Receiver<Delivery>, Shutdown) {
    let (sender, deliveries) = mpsc::channel(capacity);
    let puller = Puller::attach(bus, &model(), lane, capacity, sender).await.unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(puller.run(shutdown.clone()));
    (deliveries, shutdown)
}

#[tokio::test]
async fn provisioning_twice_changes_nothing_and_unsafe_changes_are_refused() {
    let server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    bus.ensure(&[model()]).await.unwrap();
    bus.ensure(&[model()]).await.unwrap();
    bus.ensure(&["other".parse().unwrap()]).await.unwrap();
    let models = bus.provisioned_models().await.unwrap();
    assert_eq!(models.iter().map(ModelName::as_str).collect::<Vec<_>>(), ["m", "other"]);

    let three = self::bus(&server, TopologyConfig { replicas: 3, ..TopologyConfig::default() }).await;
    let error = three.ensure(&[model()]).await.unwrap_err();
    assert!(matches!(&error, BusError::Conflict(why) if why.contains("replicas 1")), "{error}");
}

#[tokio::test]
async fn a_job_arrives_whole_and_is_gone_once_settled() {
    let server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    bus.ensure(&[model()]).await.unwrap();
    let deadline = Deadline::after(SystemTime::now(), Duration::from_secs(60));
    let sent = NewJob { deadline: Some(deadline), reply: Some("_INBOX.me".into()), ..job(Lane::Bulk) };
    let published = bus.publish_job(sent.clone()).await.unwrap();
    let (mut deliveries, shutdown) = pull(&bus, Lane::Bulk, 4).await;
    let delivery = deliveries.recv().await.unwrap();
    assert_eq!((&delivery.id, delivery.sequence, delivery.attempt), (&sent.id, published.sequence, 1));
    assert_eq!(delivery.payload, "picture");
    assert_eq!(delivery.wishes.deadline, Some(deadline));
    assert_eq!((delivery.wishes.top_k, delivery.wishes.reply.as_deref()), (Some(3), Some("_INBOX.me")));
    assert_eq!(bus.backlog(&model(), Lane::Bulk).await.unwrap().in_flight, 1);
    delivery.ack().await;
    while bus.backlog(&model(), Lane::Bulk).await.unwrap().in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.order();
    shutdown.finished().await;
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_is_stored_once_however_often_it_is_published() {
    let server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    bus.ensure(&[model()]).await.unwrap();
    let alone = job(Lane::Bulk);
    assert!(!bus.publish_job(alone.clone()).await.unwrap().duplicate);
    assert!(bus.publish_job(alone).await.unwrap().duplicate);
    assert_eq!(bus.backlog(&model(), Lane::Bulk).await.unwrap().pending, 1);

    // Whoever waits publishes once: the broker is not asked to remember that.
    let waited_for = NewJob { reply: Some("_INBOX.me".into()), ..job(Lane::Bulk) };
    bus.publish_job(waited_for.clone()).await.unwrap();
    assert!(!bus.publish_job(waited_for).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_full_lane_refuses_and_the_other_lane_does_not() {
    let server = NatsServer::start();
    let bus = bus(&server, TopologyConfig { max_jobs_per_lane: 3, ..TopologyConfig::default() }).await;
    bus.ensure(&[model()]).await.unwrap();
    for _ in 0..3 {
        bus.publish_job(job(Lane::Bulk)).await.unwrap();
    }
    assert!(matches!(bus.publish_job(job(Lane::Bulk)).await, Err(Refused::Full(_))));
    bus.publish_job(job(Lane::Interactive)).await.unwrap();
    let unknown = NewJob { model: "stranger".parse().unwrap(), ..job(Lane::Bulk) };
    assert!(matches!(bus.publish_job(unknown).await, Err(Refused::NoQueue)));
}

#[tokio::test]
async fn no_more_jobs_are_taken_than_there_are_slots() {
    let server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    bus.ensure(&[model()]).await.unwrap();
    for _ in 0..20 {
        bus.publish_job(job(Lane::Interactive)).await.unwrap();
    }
    let (mut deliveries, _shutdown) = pull(&bus, Lane::Interactive, 4).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(deliveries.recv().await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(deliveries.try_recv().is_err(), "a fifth job came although all slots are in use");
    assert_eq!(bus.backlog(&model(), Lane::Interactive).await.unwrap().in_flight, 4);
    // Every settled job makes room for another, until none is left.
    let mut taken = held.len();
    while taken < 20 {
        held.pop().unwrap().ack().await;
        if held.is_empty() {
            held.push(deliveries.recv().await.unwrap());
            taken += 1;
            while let Ok(more) = deliveries.try_recv() {
                held.push(more);
                taken += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_waiting_pull_survives_a_killed_server() {
    let mut server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    bus.ensure(&[model()]).await.unwrap();
    let (mut deliveries, _shutdown) = pull(&bus, Lane::Interactive, 4).await;
    for _ in 0..3 {
        let (restarted, ()) = tokio::join!(
            tokio::task::spawn_blocking(move || {
                server.restart();
                server
            }),
            async {}
        );
        server = restarted.unwrap();
        let sent = job(Lane::Interactive);
        while bus.publish_job(sent.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The kill may have swallowed the last round's acknowledgement: then that job comes again first.
        loop {
            let delivery = deliveries.recv().await.unwrap();
            let is_this = delivery.id == sent.id;
            delivery.ack().await;
            if is_this {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_long_job_keeps_its_lease_and_a_dropped_one_comes_back() {
    let server = NatsServer::start();
    let topology = TopologyConfig { ack_wait: Duration::from_millis(600), ..TopologyConfig::default() };
    let bus = bus(&server, topology).await;
    bus.ensure(&[model()]).await.unwrap();
    bus.publish_job(job(Lane::Interactive)).await.unwrap();
    let (mut deliveries, _shutdown) = pull(&bus, Lane::Interactive, 4).await;
    let delivery = deliveries.recv().await.unwrap();
    // Three times ack_wait: without renewal the job would have come back by now.
    assert!(tokio::time::timeout(Duration::from_millis(1800), deliveries.recv()).await.is_err());
    drop(delivery);
    let again = deliveries.recv().await.unwrap();
    assert_eq!(again.attempt, 2);
    again.ack().await;
}

#[tokio::test]
async fn a_job_that_nobody_settles_ends_in_the_dead_letters_and_its_publisher_is_told() {
    let server = NatsServer::start();
    let topology = TopologyConfig { ack_wait: Duration::from_millis(200), max_deliver: 2, ..TopologyConfig::default() };
    let bus = bus(&server, topology).await;
    bus.ensure(&[model()]).await.unwrap();
    let sent = job(Lane::Bulk);
    bus.publish_job(sent.clone()).await.unwrap();
    let (mut deliveries, shutdown) = pull(&bus, Lane::Bulk, 4).await;
    let undertaker = bus.clone();
    let stop = shutdown.clone();
    shutdown.spawn(async move { undertaker.run_undertaker(stop).await });
    tokio::spawn(async move {
        while let Some(delivery) = deliveries.recv().await {
            drop(delivery)
        }
    });
    let result = loop {
        if let Some(result) = bus.result(&sent.id).await.unwrap() {
            break result;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(result["error"]["code"], "dead_lettered");
    while bus.backlog(&model(), Lane::Bulk).await.unwrap() != Default::default() {
        if bus.backlog(&model(), Lane::Bulk).await.unwrap().pending == 0
            && bus.backlog(&model(), Lane::Bulk).await.unwrap().in_flight == 0
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_listing_gives_the_latest_of_one_owner() {
    let server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    bus.ensure(&[model()]).await.unwrap();
    let [ada, bob] = ["ada", "bob"].map(|name| name.parse::<Owner>().unwrap());
    assert!(bus.feedback_of(&ada).await.unwrap().is_empty());
    bus.keep_feedback(&ada, b"first".to_vec()).await.unwrap();
    for number in 0..2600u32 {
        let owner = if number % 5 == 0 { &bob } else { &ada };
        bus.keep_feedback(owner, number.to_string().into_bytes()).await.unwrap();
    }
    let listed = bus.feedback_of(&ada).await.unwrap();
    assert_eq!((listed.len(), listed[999].payload.as_ref()), (1000, b"2599".as_slice()));
    assert!(listed.is_sorted_by_key(|message| message.sequence));
    assert_eq!(bus.feedback_of(&bob).await.unwrap().len(), 520);
}

fn digest() -> ModelDigest {
    let manifest = Manifest::parse("name = 'm'\nfile = 'm.onnx'").unwrap();
    ModelDigest::of(b"weights", &manifest, &[])
}

fn prediction() -> Prediction {
    Prediction { model: model(), digest: digest(), top: Vec::new(), infer_us: 1, computed_at: 0 }
}

fn key(image: &[u8]) -> CacheKey {
    CacheKey { model: digest(), image: ImageKey::Sha256(ImageSha256::of(image)) }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let patience = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), patience).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn whoever_follows_the_cache_knows_where_everything_is() {
    let mut server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    bus.ensure(&[model()]).await.unwrap();
    let (writer, reader) =
        (SharedCache::open(&bus, cache::LATEST).await.unwrap(), SharedCache::open(&bus, cache::LATEST).await.unwrap());
    let store = async |name: &[u8]| writer.put(&key(name), &prediction()).await.unwrap().stored().await.unwrap();
    let holds = async |name: &[u8]| reader.get(&key(name)).await.unwrap().is_some();
    store(b"before").await;
    assert!(!holds(b"before").await, "who does not follow knows nothing");
    let shutdown = Shutdown::new();
    shutdown.spawn(reader.clone().follow(shutdown.clone()));
    reader.listed().await;
    assert_eq!(reader.get(&key(b"before")).await.unwrap(), Some(prediction()));
    store(b"after").await;
    until("a new prediction is heard of", async || holds(b"after").await).await;
    // Many at once are told of together, and all of them.
    let many: Vec<_> = (0..500u32).map(u32::to_le_bytes).collect();
    futures_util::future::join_all(many.iter().map(|name| store(name))).await;
    for name in &many {
        until("all are heard of", async || holds(name).await).await;
    }
    assert!(!holds(b"never").await);
    // The same key once more: the later one counts.
    let later = Prediction { infer_us: 7, ..prediction() };
    writer.put(&key(b"before"), &later).await.unwrap().stored().await.unwrap();
    until("the later one is found", async || reader.get(&key(b"before")).await.unwrap() == Some(later.clone())).await;

    // A lost connection: whatever was stored meanwhile is listed by whoever comes back, all of it by a new one.
    let mut connections = bus.connections();
    let before = connections.borrow().count;
    server.kill();
    server.restart();
    connections.wait_for(|now| now.up && now.count > before).await.unwrap();
    store(b"again").await;
    reader.listed().await;
    until("it is heard of or listed", async || holds(b"again").await).await;
    assert!(holds(b"before").await && holds(b"after").await);
    let late = SharedCache::open(&bus, cache::LATEST).await.unwrap();
    shutdown.spawn(late.clone().follow(shutdown.clone()));
    late.listed().await;
    assert_eq!(late.get(&key(b"again")).await.unwrap(), Some(prediction()));
    assert_eq!(late.get(&key(b"before")).await.unwrap(), Some(later));

    // What has been purged is not found, and may come again.
    bus.purge_cache(None).await.unwrap();
    assert!(!holds(b"before").await);
    store(b"before").await;
    until("it is found again", async || holds(b"before").await).await;
    shutdown.order();
    shutdown.finished().await;
}

#[tokio::test]
async fn of_several_gateways_one_computes_an_image_and_the_others_know_which() {
    let server = NatsServer::start();
    let bus = bus(&server, TopologyConfig::default()).await;
    let shutdown = Shutdown::new();
    let mut gateways = Vec::new();
    for _ in 0..3 {
        let stop = Shutdown::new();
        let peers = Peers::join(&bus, NodeId::mint("gateway"), &stop).await.unwrap();
        let claims = Claims::new(&bus, &peers);
        shutdown.spawn(claims.clone().answer(stop.clone()));
        gateways.push((peers, claims, stop));
    }
    let keys: Vec<_> = (0..60u32).map(|n| key(&n.to_le_bytes())).collect();
    let home = |at: usize, key: &CacheKey| gateways[at].0.home(key.fingerprint());
    let agreed = |key: &CacheKey| {
        let homes: Vec<_> = (0..3).map(|at| home(at, key).unwrap_or_else(|| gateways[at].0.me().clone())).collect();
        homes.iter().all(|home| *home == homes[0])
    };
    until("all know of each other", async || keys.iter().all(agreed)).await;
    assert!((0..3).all(|at| keys.iter().any(|key| home(at, key).is_none())), "each is home to some");

    for key in &keys {
        let (first, second, third) = tokio::join!(
            gateways[0].1.claim(key, None),
            gateways[1].1.claim(key, None),
            gateways[2].1.claim(key, None)
        );
        let told = [first, second, third];
        let computing = told.iter().position(Option::is_none).expect("somebody computes it");
        let named = gateways[computing].0.me();
        assert!(told.iter().flatten().count() == 2 && told.iter().flatten().all(|holder| holder == named), "{told:?}");
        // Whoever finds it gone takes over, once.
        let (next, last) = ((computing + 1) % 3, (computing + 2) % 3);
        assert_eq!(gateways[next].1.claim(key, Some(named.clone())).await, None);
        assert_eq!(gateways[last].1.claim(key, Some(named.clone())).await.as_ref(), Some(gateways[next].0.me()));
    }

    // A home that is gone holds nobody up: what is at home there is computed by whoever asks.
    gateways[0].2.order();
    let orphan =
        (60..999u32).map(|n| key(&n.to_le_bytes())).find(|key| home(1, key).as_ref() == Some(gateways[0].0.me()));
    assert_eq!(gateways[1].1.claim(&orphan.unwrap(), None).await, None);
    gateways.iter().for_each(|(_, _, stop)| stop.order());
    shutdown.order();
    shutdown.finished().await;
}
