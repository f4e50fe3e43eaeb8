//! Everything a gateway measures, registered once.

use std::time::Duration;

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use shoal_nats::backlog::Backlog;
use shoal_shared::metrics::LATENCY_BUCKETS;
use shoal_shared::names::{Lane, ModelName};

use crate::predict::Source;

/// A gateway's metrics.
pub struct GatewayMetrics {
    /// Requests by route and status.
    pub requests: IntCounterVec,
    /// Time of a request, by route.
    pub request_seconds: HistogramVec,
    /// Predictions being awaited.
    pub in_flight: IntGauge,
    /// Bytes of uploads being held.
    pub in_flight_bytes: IntGauge,
    /// Answered predictions, by where they came from.
    pub predictions: IntCounterVec,
    /// Asynchronous jobs accepted.
    pub accepted: IntCounter,
    /// Predictions refused at the door, by the bound.
    pub refused: IntCounterVec,
    /// Requests answered from a remembered refusal.
    pub negative_hits: IntCounter,
    /// Time of a prediction in each stage the gateway sees.
    pub stages: HistogramVec,
    /// Predictions dropped from memory for want of room.
    pub evictions: IntCounter,
    /// Bytes of predictions in memory.
    pub cache_bytes: IntGauge,
    /// Predictions in memory.
    pub cache_entries: IntGauge,
    /// Inference time that the cache made unnecessary.
    pub saved_seconds: prometheus::Counter,
    /// Answers that nobody waited for any more.
    pub late_answers: IntCounter,
    /// Jobs in the queue, by model, lane and state.
    pub queue_jobs: IntGaugeVec,
    /// How long a new job would wait, by model.
    pub queue_wait: GaugeVec,
    /// Age of the oldest job, by model and lane.
    pub queue_oldest: GaugeVec,
    /// Workers that take jobs.
    pub workers_ready: IntGauge,
    /// Whether the connection to NATS is up.
    pub nats_up: IntGauge,
}

impl GatewayMetrics {
    /// Registers everything; every series exists from the start.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("shoal_gateway_requests_total", "Requests answered, by route and status"),
                &["route", "status"],
            )?,
            request_seconds: HistogramVec::new(
                histogram("shoal_gateway_request_seconds", "Time from the request's head to the answer, by route"),
                &["route"],
            )?,
            in_flight: IntGauge::new("shoal_gateway_in_flight", "Predictions being awaited")?,
            in_flight_bytes: IntGauge::new("shoal_gateway_in_flight_bytes", "Bytes of uploads being held")?,
            predictions: IntCounterVec::new(
                Opts::new("shoal_gateway_predictions_total", "Predictions answered, by where they came from"),
                &["cache"],
            )?,
            accepted: IntCounter::new("shoal_gateway_jobs_accepted_total", "Asynchronous jobs accepted")?,
            refused: IntCounterVec::new(
                Opts::new(
                    "shoal_gateway_refused_total",
                    "Predictions refused at the door, by the bound they would break",
                ),
                &["bound"],
            )?,
            negative_hits: IntCounter::new(
                "shoal_gateway_cache_negative_hits_total",
                "Uploads refused from memory: the same bytes were no image a moment ago",
            )?,
            stages: HistogramVec::new(
                histogram("shoal_gateway_stage_seconds", "Time of a prediction in each stage the gateway sees"),
                &["stage"],
            )?,
            evictions: IntCounter::new(
                "shoal_gateway_cache_evictions_total",
                "Predictions dropped from memory for want of room",
            )?,
            cache_bytes: IntGauge::new("shoal_gateway_cache_bytes", "Bytes of predictions in memory")?,
            cache_entries: IntGauge::new("shoal_gateway_cache_entries", "Predictions in memory")?,
            saved_seconds: prometheus::Counter::new(
                "shoal_gateway_cache_saved_inference_seconds_total",
                "Inference time that the cache made unnecessary",
            )?,
            late_answers: IntCounter::new(
                "shoal_gateway_late_answers_total",
                "Answers that nobody waited for any more",
            )?,
            queue_jobs: IntGaugeVec::new(
                Opts::new("shoal_queue_jobs", "Jobs in the queue: waiting, in a worker's hands, delivered again"),
                &["model", "lane", "state"],
            )?,
            queue_wait: GaugeVec::new(
                Opts::new(
                    "shoal_queue_wait_seconds",
                    "How long a new job would wait: what is ahead over the rate it is worked off at",
                ),
                &["model"],
            )?,
            queue_oldest: GaugeVec::new(
                Opts::new("shoal_queue_oldest_job_seconds", "Age of the oldest job that has not ended"),
                &["model", "lane"],
            )?,
            workers_ready: IntGauge::new(
                "shoal_gateway_workers_ready",
                "Workers that take jobs, as this gateway hears them",
            )?,
            nats_up: IntGauge::new("shoal_gateway_nats_up", "1 while the connection to NATS is up")?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.in_flight_bytes.clone()))?;
        registry.register(Box::new(metrics.predictions.clone()))?;
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.negative_hits.clone()))?;
        registry.register(Box::new(metrics.stages.clone()))?;
        registry.register(Box::new(metrics.evictions.clone()))?;
        registry.register(Box::new(metrics.cache_bytes.clone()))?;
        registry.register(Box::new(metrics.cache_entries.clone()))?;
        registry.register(Box::new(metrics.saved_seconds.clone()))?;
        registry.register(Box::new(metrics.late_answers.clone()))?;
        registry.register(Box::new(metrics.queue_jobs.clone()))?;
        registry.register(Box::new(metrics.queue_wait.clone()))?;
        registry.register(Box::new(metrics.queue_oldest.clone()))?;
        registry.register(Box::new(metrics.workers_ready.clone()))?;
        registry.register(Box::new(metrics.nats_up.clone()))?;
        Source::ALL.iter().for_each(|source| drop(metrics.predictions.with_label_values(&[source.as_str()])));
        ["in_flight", "share", "wait"].iter().for_each(|bound| drop(metrics.refused.with_label_values(&[bound])));
        Ok(metrics)
    }

    /// A prediction was answered.
    pub fn predicted(&self, source: Source, infer_us: u32) {
        self.predictions.with_label_values(&[source.as_str()]).inc();
        if source != Source::Miss {
            self.saved_seconds.inc_by(f64::from(infer_us) / 1e6);
        }
    }

    /// What waits in one lane.
    pub fn queued(&self, model: &ModelName, lane: Lane, backlog: &Backlog) {
        let states =
            [("waiting", backlog.pending), ("in_flight", backlog.in_flight), ("redelivered", backlog.redelivered)];
        for (state, jobs) in states {
            self.queue_jobs.with_label_values(&[model.as_str(), lane.as_str(), state]).set(jobs as i64);
        }
    }

    /// A stage took this long.
    pub fn stage(&self, stage: &str, took: Duration) {
        self.stages.with_label_values(&[stage]).observe(took.as_secs_f64());
    }
}
