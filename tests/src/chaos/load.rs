//! Constant mixed load: held requests, accepted jobs, plain publishes; good, broken and deadly images.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::jetstream;
use fastrand::Rng;

use super::ledger::{Entry, Face, Kind, Ledger};
use crate::http::{Client, Response};
use crate::images;

/// An image, and what is right to say of it.
struct Question {
    model: &'static str,
    image: Vec<u8>,
    expected: Option<String>,
}

/// What all clients share.
struct Shared {
    gateways: Vec<String>,
    ledger: Arc<Ledger>,
    stop: AtomicBool,
    number: AtomicU32,
    seed: u64,
}

/// Clients that go on until stopped.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

/// Pause of each client between two requests.
const PAUSE: Duration = Duration::from_millis(12);

impl Load {
    /// Starts the clients. Everything random follows `seed`.
    pub fn start(gateways: Vec<String>, nats_url: &str, seed: u64, ledger: Arc<Ledger>) -> Self {
        let (stop, number) = (AtomicBool::new(false), AtomicU32::new(0));
        let shared = Arc::new(Shared { gateways, ledger, stop, number, seed });
        let mut clients = Vec::new();
        for client in 0..6 {
            clients.push(shared.spawn(client, |shared, rng, http| shared.hold(rng, http)));
        }
        for client in 6..9 {
            clients.push(shared.spawn(client, |shared, rng, http| shared.submit(rng, http)));
        }
        let (publishing, url) = (Arc::clone(&shared), nats_url.to_owned());
        clients.push(std::thread::spawn(move || publishing.publish_all(&url)));
        Self { shared, clients }
    }

    /// Waits until what is under way has its answer.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, client: u64, ask: impl Fn(&Self, &mut Rng, &Client) + Send + 'static) -> JoinHandle<()> {
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let mut rng = Rng::with_seed(shared.seed ^ client.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let http = Client::new();
            while !shared.stop.load(Ordering::Relaxed) {
                ask(&shared, &mut rng, &http);
                std::thread::sleep(PAUSE);
            }
        })
    }

    fn question(&self, rng: &mut Rng) -> Question {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let solid = |grey, expected: Option<&str>| Question {
            model: "brittle",
            image: images::solid(grey, number % 4096),
            expected: expected.map(str::to_owned),
        };
        match number % 1000 {
            // Kills its worker, every time it is tried.
            250 => return solid(255, None),
            // Fails in the session.
            100 | 600 => return solid(128, None),
            _ => {}
        }
        match rng.u32(0..100) {
            0..5 => solid(30, Some("dark")),
            5..9 => {
                let mut image = images::digit_variant(1, number % 65536);
                image.truncate(rng.usize(20..image.len() - 60));
                Question { model: "digits", image, expected: None }
            }
            _ => {
                let digit = rng.u8(0..10);
                let image = images::digit_variant(digit, number % 65536);
                Question { model: "digits", image, expected: Some(digit.to_string()) }
            }
        }
    }

    /// Asks one gateway and, when it refuses the connection, the next: as a load balancer does.
    fn post(&self, rng: &mut Rng, http: &Client, path: &str, image: &[u8]) -> Option<Response> {
        let first = rng.usize(0..self.gateways.len());
        let mut last = String::new();
        for turn in 0..self.gateways.len() {
            let gateway = &self.gateways[(first + turn) % self.gateways.len()];
            match http.try_post(&format!("{gateway}{path}"), &[], image) {
                Ok(response) => return Some(response),
                Err(error) if error.contains("refused") => last = error,
                Err(_) => {
                    self.ledger.refuse("connection broken by a killed gateway");
                    return None;
                }
            }
        }
        self.ledger.refuse(if last.is_empty() { "no gateway" } else { "no gateway listens" });
        None
    }

    /// Whether the gateway did not accept the job, and said so as it should.
    fn is_refused(&self, response: &Response) -> bool {
        assert!(![401, 403].contains(&response.status), "nothing was asked of the fleet: {response:?}");
        let refused = [429, 503].contains(&response.status);
        if refused {
            assert!(response.header("retry-after").is_some(), "{response:?}");
            self.ledger.refuse(&response.status.to_string());
        }
        refused
    }

    fn hold(&self, rng: &mut Rng, http: &Client) {
        let Question { model, image, expected } = self.question(rng);
        let timeout = if rng.u8(0..50) == 0 { 5 } else { 60_000 };
        let path = format!("/predict?model={model}&timeout_ms={timeout}");
        let Some(response) = self.post(rng, http, &path, &image) else { return };
        if self.is_refused(&response) {
            return;
        }
        let face = Face::of(&response.json()).unwrap_or_else(|| panic!("no answer: {response:?}"));
        let place = self.ledger.accept(Entry { kind: Kind::Sync, id: None, expected, faces: Vec::new() });
        self.ledger.show(place, face);
    }

    fn submit(&self, rng: &mut Rng, http: &Client) {
        let Question { model, image, expected } = self.question(rng);
        let timeout = if rng.u8(0..25) == 0 { "&timeout_ms=20" } else { "" };
        let Some(response) = self.post(rng, http, &format!("/jobs?model={model}{timeout}"), &image) else { return };
        if self.is_refused(&response) {
            return;
        }
        if (400..500).contains(&response.status) {
            return self.ledger.refuse(response.json()["error"]["code"].as_str().unwrap_or("no code"));
        }
        assert_eq!(response.status, 202, "{response:?}");
        let id = response.json()["id"].as_str().unwrap().to_owned();
        let place = self.ledger.accept(Entry { kind: Kind::Async, id: Some(id.clone()), expected, faces: Vec::new() });
        let gateway = &self.gateways[rng.usize(0..self.gateways.len())];
        let path = format!("{gateway}/jobs/{id}");
        match rng.u8(0..20) {
            0 => {
                let _ = http.try_delete(&path);
            }
            // Somebody looks early; what is seen now must still be true in the end.
            1..8 => {
                let wait = if rng.bool() { "?wait=1" } else { "" };
                let Ok(seen) = http.try_get(&format!("{path}{wait}")) else { return };
                if let Some(face) = Face::of(&seen.json()["result"]) {
                    self.ledger.show(place, face);
                }
            }
            _ => {}
        }
    }

    fn publish_all(&self, url: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
            let client = options.connect(url.split(',').collect::<Vec<_>>()).await.unwrap();
            let queue = jetstream::new(client);
            let mut rng = Rng::with_seed(self.seed);
            while !self.stop.load(Ordering::Relaxed) {
                self.publish(&queue, &mut rng).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// As `nats pub -J` does, with an id; repeated until acknowledged, which the id makes harmless.
    async fn publish(&self, queue: &jetstream::Context, rng: &mut Rng) {
        let Question { model, image, expected } = self.question(rng);
        let id = format!("cli-{:x}-{}", self.seed, self.number.fetch_add(1, Ordering::Relaxed));
        let subject = format!("jobs.{model}.{}", if rng.bool() { "bulk" } else { "interactive" });
        for _ in 0..60 {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Shoal-Job", id.as_str());
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
            let sent = queue.publish_with_headers(subject.clone(), headers, image.clone().into()).await;
            let Ok(pending) = sent else { continue };
            if pending.await.is_ok() {
                self.ledger.accept(Entry { kind: Kind::Published, id: Some(id), expected, faces: Vec::new() });
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.ledger.refuse("publish");
    }
}
