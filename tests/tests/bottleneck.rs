//! Seven situations produced for real, and none: each is named, and what is advised helps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use shoal_loadtest::photograph;
use shoal_shared::attribution::Report;
use shoal_shared::process::available_cores;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::load::LoadPlan;
use shoal_testkit::nats::NatsServer;
use shoal_testkit::slow::slow_way;
use shoal_testkit::{eventually, http, images, models};
use tempfile::TempDir;

/// Each situation needs the machine for itself.
static MACHINE: Mutex<()> = Mutex::new(());

/// A folder with images, and the machine.
struct Stage {
    dir: TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl Stage {
    fn set() -> Self {
        let machine = MACHINE.lock();
        Self { dir: tempfile::tempdir().unwrap(), _machine: machine }
    }

    fn photograph(&self, width: u32, height: u32, bytes: usize) -> PathBuf {
        self.file(&format!("{width}x{height}.jpg"), &photograph::jpeg(width, height, bytes, 7).unwrap())
    }

    fn digit(&self) -> PathBuf {
        self.file("digit.png", &images::digit(3))
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A fleet that serves ResNet-50.
    fn resnet(&self, plan: FleetPlan) -> Fleet {
        let model = models::add_resnet50(self.dir.path(), false);
        Fleet::start(FleetPlan { model, models_dir: Some(self.dir.path().into()), ..plan })
    }

    /// Loads until the verdict is `name` three times in a row; gives it.
    fn verdict(&self, fleet: &Fleet, load: &Load<'_>, name: &str) -> Report {
        let url = fleet.url("/predict");
        let _load = load.plan(&url).start(&self.dir.path().join("load.log"));
        settled(fleet, name)
    }
}

struct Load<'a> {
    image: &'a Path,
    connections: usize,
    unique: bool,
}

impl Load<'_> {
    fn plan<'a>(&'a self, url: &'a str) -> LoadPlan<'a> {
        LoadPlan { url, image: self.image, connections: self.connections, unique: self.unique }
    }

    fn throughput(&self, fleet: &Fleet, seconds: u32) -> f64 {
        let url = fleet.url("/predict");
        let summary: Value = self.plan(&url).run(seconds);
        summary["requests_per_second"].as_f64().unwrap()
    }
}

fn report(fleet: &Fleet) -> Report {
    serde_json::from_slice(&http::get(&fleet.url("/api/bottleneck")).body).unwrap()
}

fn settled(fleet: &Fleet, name: &str) -> Report {
    let (mut in_a_row, mut last) = (0, None);
    eventually(&format!("the bottleneck is {name}"), || {
        std::thread::sleep(Duration::from_secs(1));
        let found = report(fleet);
        in_a_row = if found.name.as_str() == name { in_a_row + 1 } else { 0 };
        println!("{}", found.sentence);
        last = Some(found);
        in_a_row == 3
    });
    last.unwrap()
}

#[test]
fn idle_is_no_bottleneck() {
    let stage = Stage::set();
    let fleet = Fleet::start(FleetPlan::default());
    let idle = settled(&fleet, "none");
    assert!(idle.sentence.starts_with("idle: 1 worker ready"), "{}", idle.sentence);
    assert!(idle.headroom.unwrap() > 0.0);
    // A pull that waits holds no job.
    let worker = http::get(&fleet.url("/models")).json()["workers"][0].clone();
    assert_eq!(worker["slots"]["busy"], 0, "{worker}");
    drop(stage);
}

#[test]
fn nobody_is_there_to_make_the_predictions_that_are_asked_for() {
    let _stage = Stage::set();
    let mut fleet = Fleet::start(FleetPlan::default());
    fleet.workers[0].kill();
    let (url, mut asked) = (fleet.url("/predict?timeout_ms=300"), 0u32);
    let mut ask = || {
        asked += 1;
        http::post(&url, &[], &[images::digit(3), asked.to_le_bytes().to_vec()].concat()).status
    };
    eventually("the worker is missed", || ask() == 503);
    // Nothing waits: refusals alone tell.
    settled(&fleet, "none");
    eventually("the workers are named", || {
        (0..4).for_each(|_| assert_eq!(ask(), 503));
        report(&fleet).name.as_str() == "workers"
    });
}

#[test]
fn inference_that_uses_every_core() {
    let stage = Stage::set();
    let fleet = stage.resnet(FleetPlan { threads: available_cores(), ..FleetPlan::default() });
    let image = stage.photograph(500, 334, 58_000);
    let load = Load { image: &image, connections: 16, unique: true };
    let found = stage.verdict(&fleet, &load, "inference");
    assert!(found.sentence.contains("another worker will not help"), "{}", found.sentence);
}

#[test]
fn too_few_workers_while_cores_are_free() {
    if available_cores() < 2 {
        return;
    }
    let stage = Stage::set();
    let fleet = stage.resnet(FleetPlan::default());
    let image = stage.photograph(500, 334, 58_000);
    let load = Load { image: &image, connections: 16, unique: true };
    let found = stage.verdict(&fleet, &load, "workers");
    assert!(found.advice[0].gain.unwrap() > 1.2, "{}", found.sentence);
}

#[test]
fn more_session_threads_than_cores() {
    let stage = Stage::set();
    let fleet = stage.resnet(FleetPlan { workers: 2 * available_cores(), ..FleetPlan::default() });
    let image = stage.photograph(500, 334, 58_000);
    let load = Load { image: &image, connections: 32, unique: true };
    let found = stage.verdict(&fleet, &load, "cpu");
    assert!(found.sentence.contains("oversubscribed"), "{}", found.sentence);
}

#[test]
fn decoding_of_large_photographs_for_a_small_model() {
    let stage = Stage::set();
    let fleet = Fleet::start(FleetPlan::default());
    let image = stage.photograph(2000, 1500, 900_000);
    let load = Load { image: &image, connections: 16, unique: true };
    stage.verdict(&fleet, &load, "decode");
}

#[test]
fn a_gateway_that_answers_everything_from_memory() {
    let stage = Stage::set();
    let gateway_env = vec![("SHOAL_GATEWAY_THREADS".into(), "1".into())];
    let fleet = Fleet::start(FleetPlan { gateway_env, ..FleetPlan::default() });
    let image = stage.digit();
    let load = Load { image: &image, connections: 32, unique: false };
    stage.verdict(&fleet, &load, "gateway");
}

#[test]
fn a_broker_that_is_far_away() {
    let stage = Stage::set();
    let nats = NatsServer::start();
    let port = nats.url().rsplit(':').next().unwrap().parse().unwrap();
    let way = slow_way(([127, 0, 0, 1], port).into(), Duration::from_millis(20));
    let fleet = Fleet::start_on(nats, FleetPlan { nats_url: Some(format!("nats://{way}")), ..FleetPlan::default() });
    let image = stage.digit();
    let load = Load { image: &image, connections: 8, unique: true };
    let found = stage.verdict(&fleet, &load, "broker");
    assert!(found.sentence.starts_with("the broker is slow"), "{}", found.sentence);
}

/// Follows the advice in three situations and holds the gain against what was said.
#[test]
#[ignore = "measures for minutes, on a quiet machine: `make advice`"]
fn the_advice_holds() {
    let stage = Stage::set();
    let photograph = stage.photograph(500, 334, 58_000);
    let (large, cores) = (stage.photograph(2000, 1500, 900_000), available_cores());
    let small_load = Load { image: &photograph, connections: 16, unique: true };

    let mut fleet = stage.resnet(FleetPlan::default());
    let said = stage.verdict(&fleet, &small_load, "workers");
    let before = small_load.throughput(&fleet, 20);
    fleet.add_worker();
    fleet.wait_ready(2);
    compare("another worker", &said, before, small_load.throughput(&fleet, 20));
    drop(fleet);

    let fleet = stage.resnet(FleetPlan { threads: cores, ..FleetPlan::default() });
    let said = stage.verdict(&fleet, &small_load, "inference");
    let before = small_load.throughput(&fleet, 20);
    drop(fleet);
    let (model, models_dir) = (models::add_resnet50(stage.dir.path(), true), Some(stage.dir.path().into()));
    let fleet = Fleet::start(FleetPlan { model, models_dir, threads: cores, ..FleetPlan::default() });
    compare("an int8 model", &said, before, small_load.throughput(&fleet, 20));
    drop(fleet);

    let large_load = Load { image: &large, connections: 16, unique: true };
    let fleet = Fleet::start(FleetPlan::default());
    let said = stage.verdict(&fleet, &large_load, "decode");
    let before = large_load.throughput(&fleet, 20);
    drop(fleet);
    let worker_env = vec![("SHOAL_WORKER_DECODE_THREADS".into(), "2".into())];
    let fleet = Fleet::start(FleetPlan { worker_env, ..FleetPlan::default() });
    compare("another decode thread", &said, before, large_load.throughput(&fleet, 20));
}

fn compare(what: &str, said: &Report, before: f64, after: f64) {
    let (promised, found) = (said.advice[0].gain.unwrap(), after / before);
    println!("{what}: said {promised:.2}, found {found:.2} ({before:.1} to {after:.1} a second)");
    assert!((found / promised - 1.0).abs() < 0.2, "{what}: said {promised:.2}, found {found:.2}");
}
