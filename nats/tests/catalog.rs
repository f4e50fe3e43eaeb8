//! The catalog and the bundles against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::time::Duration;

use shoal_nats::bundles::{Bundle, BundleName, Bundles};
use shoal_nats::catalog::{Catalog, ChangeError};
use shoal_nats::{Bus, BusConfig};
use shoal_shared::catalog::{CatalogError, Pushed, Share};
use shoal_shared::digest::ModelDigest;
use shoal_shared::names::{ModelName, Version};
use shoal_shared::process::shutdown::Shutdown;
use shoal_testkit::nats::NatsServer;

async fn bus(server: &NatsServer) -> Bus {
    let config = BusConfig { url: server.url(), ..BusConfig::default() };
    Bus::connect(&config, "test", Duration::from_secs(10)).await.unwrap()
}

fn model() -> ModelName {
    "m".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

async fn push(catalog: &Catalog) -> Version {
    let pushed = |at| Pushed { digest: ModelDigest::default(), bytes: 1, at };
    catalog.change(&model(), |record, at| record.push(None, pushed(at))).await.unwrap().0
}

#[tokio::test]
async fn nobody_overwrites_what_another_has_changed_and_everybody_follows() {
    let server = NatsServer::start();
    let (one, other) = (bus(&server).await, bus(&server).await);
    one.ensure(&[model()]).await.unwrap();
    let (one, other) = (Catalog::open(&one).await.unwrap(), Catalog::open(&other).await.unwrap());
    let shutdown = Shutdown::new();
    let view = other.follow(&shutdown).await.unwrap();
    let mut changes = view.changes();
    assert!(view.record(&model()).is_none());
    let (a, b) = tokio::join!(async { [push(&one).await, push(&one).await, push(&one).await] }, async {
        [push(&other).await, push(&other).await, push(&other).await]
    });
    let mut all: Vec<&str> = a.iter().chain(&b).map(Version::as_str).collect();
    all.sort_unstable();
    assert_eq!(all, ["1", "2", "3", "4", "5", "6"], "each push has a version of its own");
    while view.record(&model()).is_none_or(|record| record.versions.len() < 6) {
        changes.changed().await.unwrap();
    }
    assert_eq!(view.version_of(&"m_v4".parse().unwrap()), Some((model(), version("4"))));
    assert_eq!(view.version_of(&"m_v7".parse().unwrap()), None);

    // Two gateways see the same canary fail: one of them withdraws it.
    let canary = Some(Share { version: version("2"), percent: 10 });
    one.change(&model(), |record, at| record.set_canary(canary.clone(), at)).await.unwrap();
    let withdraw = async |catalog: &Catalog| {
        catalog.change(&model(), |record, at| Ok(record.withdraw(&version("2"), "errors", at))).await.unwrap().0
    };
    let (a, b) = tokio::join!(withdraw(&one), withdraw(&other));
    assert!(a != b, "{a} {b}");
    let refused = one.change(&model(), |record, at| record.promote(&version("9"), at)).await;
    assert!(matches!(refused, Err(ChangeError::Refused(CatalogError::Unknown { .. }))));
    shutdown.order();
}

#[tokio::test]
async fn a_bundle_comes_back_whole_and_a_retired_queue_is_gone() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    let served = model().served(&version("1")).unwrap();
    bus.ensure(&[model(), served.clone()]).await.unwrap();
    let bundles = Bundles::open(&bus).await.unwrap();
    let name = BundleName::new(&served, &ModelDigest::default());
    assert!(bundles.get(&name).await.unwrap_err().to_string().contains("it is not there"));
    // Larger than a chunk of the object store.
    let onnx = (0..400_000u32).map(|number| (number % 251) as u8).collect();
    let bundle = Bundle { manifest: b"name".to_vec(), onnx, labels: None };
    bundles.put(&name, &bundle).await.unwrap();
    assert_eq!(bundles.get(&name).await.unwrap(), bundle);
    bundles.remove(&name).await;
    assert!(bundles.get(&name).await.is_err());

    bus.retire(&served).await.unwrap();
    assert_eq!(bus.provisioned_models().await.unwrap(), [model()]);
    bus.ensure(std::slice::from_ref(&served)).await.unwrap();
    assert_eq!(bus.provisioned_models().await.unwrap().len(), 2);
}
