//! What the target says of itself, once a second, on the time axis of the run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::Request;
use serde::{Deserialize, Serialize};
use shoal_shared::presence::WorkerStatus;
use shoal_shared::status::Status;

use crate::body::Pieces;
use crate::client::{Connection, Destination};
use crate::scenario::Target;

/// What the target said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// Jobs that no worker has yet.
    pub waiting: Option<u64>,
    /// Jobs in workers' hands.
    pub in_flight: Option<u64>,
    /// Workers that take jobs.
    pub workers: Option<u64>,
    /// Name of the bottleneck.
    pub bottleneck: Option<String>,
    /// The verdict in words.
    pub sentence: Option<String>,
    /// Utilisation of each resource, 0 to 1.
    pub saturation: BTreeMap<String, f64>,
    /// CPU seconds of the process that answers `/metrics`.
    pub cpu_seconds: Option<f64>,
    /// Its memory.
    pub memory_bytes: Option<f64>,
}

/// What the target is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct About {
    /// Its release.
    pub version: Option<String>,
    /// Models that it serves.
    pub models: Vec<String>,
    /// Workers that there are.
    pub workers: Option<usize>,
}

/// Asks the target what it says of itself.
pub struct Watch {
    destination: Destination,
    connection: Connection,
    status: bool,
    metrics: bool,
}

/// An answer that takes longer is missed.
const PATIENCE: Duration = Duration::from_millis(900);

impl Watch {
    /// Asks for the first time; what is not there is not asked for again.
    pub async fn new(target: &Target) -> anyhow::Result<(Self, About)> {
        let destination = Destination::resolve(target).await?;
        let connection = Connection::new(None);
        let mut watch = Self { destination, connection, status: true, metrics: true };
        let status = watch.status().await;
        watch.status = status.is_some();
        watch.metrics = watch.get("/metrics").await.is_some();
        Ok((watch, status.as_ref().map(about).unwrap_or_default()))
    }

    /// Whether the target says anything.
    pub fn sees_anything(&self) -> bool {
        self.status || self.metrics
    }

    /// One sample.
    pub async fn sample(&mut self, start: Instant) -> Sample {
        let mut sample = Sample::default();
        if self.status
            && let Some(status) = self.status().await
        {
            fill(&mut sample, &status);
        }
        if self.metrics
            && let Some(text) = self.get("/metrics").await
        {
            let text = String::from_utf8_lossy(&text);
            sample.cpu_seconds = metric(&text, "process_cpu_seconds_total");
            sample.memory_bytes = metric(&text, "process_resident_memory_bytes");
        }
        sample.at = start.elapsed().as_secs_f64();
        sample
    }

    async fn status(&mut self) -> Option<Status> {
        serde_json::from_slice(&self.get("/api/status").await?).ok()
    }

    async fn get(&mut self, path: &'static str) -> Option<bytes::Bytes> {
        let mut request = Request::new(Pieces::empty());
        *request.uri_mut() = hyper::Uri::from_static(path);
        let asked = self.connection.exchange(&self.destination, request);
        let answer = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
        answer.status().is_success().then(|| answer.into_body())
    }
}

fn about(status: &Status) -> About {
    let mut models: Vec<_> = status.workers.iter().map(|worker| worker.model.name.to_string()).collect();
    models.sort();
    models.dedup();
    About { version: Some(format!("Shoal {}", status.version)), models, workers: Some(ready(status)) }
}

fn ready(status: &Status) -> usize {
    status.workers.iter().filter(|worker| WorkerStatus::takes_jobs(worker)).count()
}

fn fill(sample: &mut Sample, status: &Status) {
    sample.waiting = Some(status.queues.iter().map(|queue| queue.waiting).sum());
    sample.in_flight = Some(status.queues.iter().map(|queue| queue.in_flight).sum());
    sample.workers = Some(ready(status) as u64);
    sample.bottleneck = serde_json::to_value(status.report.name).ok().and_then(|name| Some(name.as_str()?.to_owned()));
    sample.sentence = Some(status.report.sentence.clone());
    let ratios = status.report.saturation.iter().map(|entry| (entry.resource.as_str().to_owned(), entry.ratio));
    sample.saturation = ratios.collect();
}

/// The first sample of an unlabelled metric in Prometheus's text format.
fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP process_cpu_seconds_total x\nprocess_cpu_seconds_total_x 1\nprocess_cpu_seconds_total 2.5\n";
        assert_eq!(metric(text, "process_cpu_seconds_total"), Some(2.5));
        assert_eq!(metric(text, "process_open_fds"), None);
    }
}
