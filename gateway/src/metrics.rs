//! Everything a gateway measures, registered once.

mod fleet;
mod rollout;
mod streams;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Counter, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use shoal_nats::backlog::Backlog;
use shoal_shared::attribution::{STAGES, StageTimes};
use shoal_shared::metrics::{Exemplars, LATENCY_BUCKETS, advance, register_all, register_process};
use shoal_shared::names::{Lane, ModelName};
use shoal_shared::status::QueueStatus;

use crate::predict::Source;
pub use fleet::FleetMetrics;
pub use rollout::{RolloutMetrics, ShadowCounts, Shadowed};
pub use streams::StreamMetrics;

/// The histogram that has exemplars.
const REQUEST_SECONDS: &str = "shoal_gateway_request_seconds";
/// Routes that are timed: a series that appears later lacks its beginning in every rate.
const ROUTES: [&str; 7] = ["/predict", "/predict/batch", "/predictions", "/jobs", "/jobs/{id}", "/v2", "/v2/infer"];
/// Routes whose answer somebody waits for.
const PREDICTING: [&str; 2] = ["/predict", "/v2/infer"];
/// Bounds at which predictions are refused.
const BOUNDS: [&str; 3] = ["in_flight", "share", "wait"];

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
    /// Calls about jobs, by what became of them.
    pub webhooks: IntCounterVec,
    /// Predictions refused at the door, by the bound.
    pub refused: IntCounterVec,
    /// Requests answered from a remembered refusal.
    pub negative_hits: IntCounter,
    /// Time of answered predictions in each stage, in the order of [`STAGES`].
    stages: Vec<Histogram>,
    /// The same, summed over those that a worker computed.
    computed: Mutex<Computed>,
    /// Busy time of the runtime's threads.
    pub busy: Counter,
    /// Threads of the runtime.
    pub threads: IntGauge,
    /// Round trips to the JetStream API.
    pub broker_seconds: Histogram,
    /// Requests with a trace.
    pub exemplars: Exemplars,
    /// Predictions dropped from memory.
    pub evictions: IntCounter,
    /// Bytes of predictions in memory.
    pub cache_bytes: IntGauge,
    /// Predictions in memory.
    pub cache_entries: IntGauge,
    /// Inference time that the cache made unnecessary.
    pub saved_seconds: Counter,
    /// Answers that nobody waited for any more.
    pub late_answers: IntCounter,
    /// Jobs in the queue, by model, lane and state.
    pub queue_jobs: IntGaugeVec,
    /// How long a new job would wait, by model.
    pub queue_wait: GaugeVec,
    /// Age of the oldest job, by model and lane.
    pub queue_oldest: GaugeVec,
    /// Deliveries by the broker, by model and lane.
    pub queue_delivered: IntCounterVec,
    /// What the broker keeps.
    pub streams: StreamMetrics,
    /// What the fleet is and lacks.
    pub fleet: FleetMetrics,
    /// Versions of models.
    pub rollout: RolloutMetrics,
    /// Whether the connection to NATS is up.
    pub nats_up: IntGauge,
}

impl GatewayMetrics {
    /// Registers everything; every series exists from the start.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        let stages = HistogramVec::new(
            histogram("shoal_gateway_stage_seconds", "Time of answered predictions in each stage"),
            &["stage"],
        )?;
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("shoal_gateway_requests_total", "Requests answered, by route and status"),
                &["route", "status"],
            )?,
            request_seconds: HistogramVec::new(
                histogram(REQUEST_SECONDS, "Time from the request's head to the answer, by route"),
                &["route"],
            )?,
            in_flight: IntGauge::new("shoal_gateway_in_flight", "Predictions being awaited")?,
            in_flight_bytes: IntGauge::new("shoal_gateway_in_flight_bytes", "Bytes of uploads being held")?,
            predictions: IntCounterVec::new(
                Opts::new("shoal_gateway_predictions_total", "Predictions answered, by where they came from"),
                &["cache"],
            )?,
            webhooks: IntCounterVec::new(
                Opts::new("shoal_gateway_webhooks_total", "Calls about jobs: delivered, to be retried, given up"),
                &["outcome"],
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
            stages: STAGES.iter().map(|stage| stages.with_label_values(&[stage])).collect(),
            computed: Mutex::default(),
            busy: Counter::new(
                "shoal_gateway_busy_seconds_total",
                "Time that threads of the gateway's runtime were working, summed",
            )?,
            threads: IntGauge::new("shoal_gateway_threads", "Threads of the gateway's runtime")?,
            broker_seconds: Histogram::with_opts(histogram(
                "shoal_gateway_broker_seconds",
                "Round trips to the JetStream API",
            ))?,
            exemplars: Exemplars::new(REQUEST_SECONDS, "route", LATENCY_BUCKETS),
            evictions: IntCounter::new(
                "shoal_gateway_cache_evictions_total",
                "Predictions dropped from memory for want of room or by age",
            )?,
            cache_bytes: IntGauge::new("shoal_gateway_cache_bytes", "Bytes of predictions in memory")?,
            cache_entries: IntGauge::new("shoal_gateway_cache_entries", "Predictions in memory")?,
            saved_seconds: Counter::new(
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
            queue_delivered: IntCounterVec::new(
                Opts::new("shoal_queue_delivered_total", "Deliveries by the broker, repeated ones included"),
                &["model", "lane"],
            )?,
            streams: StreamMetrics::register(registry)?,
            fleet: FleetMetrics::register(registry)?,
            rollout: RolloutMetrics::register(registry)?,
            nats_up: IntGauge::new("shoal_gateway_nats_up", "1 while the connection to NATS is up")?,
        };
        register_process(registry, "gateway")?;
        register_all(
            registry,
            &[
                &metrics.requests,
                &metrics.request_seconds,
                &metrics.in_flight,
                &metrics.in_flight_bytes,
                &metrics.predictions,
                &metrics.accepted,
                &metrics.webhooks,
                &metrics.refused,
                &metrics.negative_hits,
                &stages,
                &metrics.busy,
                &metrics.threads,
                &metrics.broker_seconds,
                &metrics.evictions,
                &metrics.cache_bytes,
                &metrics.cache_entries,
                &metrics.saved_seconds,
                &metrics.late_answers,
                &metrics.queue_jobs,
                &metrics.queue_wait,
                &metrics.queue_oldest,
                &metrics.queue_delivered,
                &metrics.nats_up,
            ],
        )?;
        ROUTES.iter().for_each(|route| drop(metrics.request_seconds.with_label_values(&[route])));
        Source::ALL.iter().for_each(|source| drop(metrics.predictions.with_label_values(&[source.as_str()])));
        ["delivered", "retried", "given_up"].iter().for_each(|end| drop(metrics.webhooks.with_label_values(&[end])));
        BOUNDS.iter().for_each(|bound| drop(metrics.refused.with_label_values(&[bound])));
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
        advance(&self.queue_delivered.with_label_values(&[model.as_str(), lane.as_str()]), backlog.delivered);
    }

    /// A prediction was answered whole.
    pub fn took(&self, source: Source, stages: &StageTimes) {
        for (histogram, seconds) in self.stages.iter().zip(stages.0) {
            // A stage that did not happen would only blur the others.
            if seconds > 0.0 {
                histogram.observe(seconds);
            }
        }
        if source == Source::Miss {
            let mut computed = self.computed.lock();
            computed.count += 1;
            computed.stages.add(stages);
        }
    }

    /// Predictions that a worker computed for this gateway so far, and their time.
    pub fn computed(&self) -> Computed {
        *self.computed.lock()
    }

    /// Predictions answered so far, by where the answer came from.
    pub fn answered(&self) -> [u64; 4] {
        Source::ALL.map(|source| self.predictions.with_label_values(&[source.as_str()]).get())
    }

    /// Requests for predictions so far, by bucket of their time; the last is beyond every bound.
    pub fn request_buckets(&self) -> Vec<u64> {
        let [predict, infer] = PREDICTING.map(|route| buckets(&self.request_seconds.with_label_values(&[route])));
        predict.iter().zip(infer).map(|(one, other)| one + other).collect()
    }

    /// What was seen last of one lane.
    pub fn queue(&self, model: &ModelName, lane: Lane) -> QueueStatus {
        let jobs = |state| {
            let gauge = self.queue_jobs.with_label_values(&[model.as_str(), lane.as_str(), state]);
            gauge.get().max(0) as u64
        };
        QueueStatus {
            model: model.clone(),
            lane,
            waiting: jobs("waiting"),
            in_flight: jobs("in_flight"),
            redelivered: jobs("redelivered"),
            oldest_s: self.queue_oldest.with_label_values(&[model.as_str(), lane.as_str()]).get(),
        }
    }

    /// Predictions refused so far for want of time or room, or because there was nobody to make them.
    pub fn refusals(&self) -> u64 {
        let at_bounds = BOUNDS.iter().map(|bound| self.refused.with_label_values(&[bound]).get());
        let in_vain = PREDICTING.iter().map(|route| self.requests.with_label_values(&[*route, "503"]).get());
        at_bounds.chain(in_vain).sum()
    }
}

/// Predictions that a worker computed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Computed {
    /// How many.
    pub count: u64,
    /// Their times, summed.
    pub stages: StageTimes,
}

/// What a histogram has counted in each of its buckets; the last is beyond every bound.
fn buckets(histogram: &Histogram) -> Vec<u64> {
    let families = histogram.collect();
    let Some(measured) = families.first().and_then(|family| family.get_metric().first()) else { return Vec::new() };
    let measured = measured.get_histogram();
    let bounds = measured.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let cumulated: Vec<u64> = bounds.map(|bucket| bucket.cumulative_count()).collect();
    let ends = cumulated.iter().copied().chain([measured.get_sample_count()]);
    let starts = std::iter::once(0).chain(cumulated.iter().copied());
    ends.zip(starts).map(|(end, start)| end.saturating_sub(start)).collect()
}
