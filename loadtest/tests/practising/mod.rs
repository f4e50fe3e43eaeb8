//! A practice server on a thread of its own, and runs against it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "every test file uses a part of it"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;
use shoal_loadtest::measure::measure;
use shoal_loadtest::practice::{Behaviour, serve};
use shoal_loadtest::report::{Report, Stats};
use shoal_loadtest::scenario::Scenario;
use shoal_loadtest::view::Quiet;
use shoal_shared::process::shutdown::Shutdown;

pub struct Practising {
    pub address: SocketAddr,
    started: Instant,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Practising {
    pub fn start(behaviour: Behaviour) -> Self {
        let shutdown = Shutdown::new();
        let (order, (tell, told)) = (shutdown.clone(), mpsc::channel());
        let thread = std::thread::spawn(move || {
            block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send((listener.local_addr().unwrap(), Instant::now())).unwrap();
                serve(listener, behaviour, order).await;
            });
        });
        let (address, started) = told.recv().unwrap();
        Self { address, started, shutdown, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Seconds since its start, about as it counts them.
    pub fn age(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// What it says of itself.
    pub fn account(&self) -> Value {
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /practice HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let answer = std::io::read_to_string(stream).unwrap();
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    /// Addresses that connections came from, but for those of [`Practising::account`] and of whoever
    /// watches.
    pub fn sources(&self) -> Vec<String> {
        let mut sources: Vec<String> = serde_json::from_value(self.account()["sources"].clone()).unwrap();
        sources.retain(|source| source != "127.0.0.1");
        sources
    }

    /// Runs a scenario, as TOML, against it.
    pub fn measure(&self, scenario: String) -> Report {
        let mut scenario: Scenario = toml::from_str(&scenario).unwrap();
        scenario.target.url = self.url();
        block_on(measure(scenario, None, &mut Quiet, Shutdown::new())).unwrap()
    }
}

impl Drop for Practising {
    fn drop(&mut self) {
        self.shutdown.order();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Digits against `/predict`, in one phase.
pub fn scenario(phase: &str) -> String {
    format!(
        "title = 'practice'\n[users]\n[arrivals]\nspacing = 'constant'\n[[task]]\nname = 'predict'\npath = '/predict'\n\
         upload = 'raw'\n[[phase]]\n{phase}"
    )
}

pub fn ms(stats: &Stats, percent: f64) -> f64 {
    stats.at(percent).unwrap()
}

pub fn scenarios() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}
