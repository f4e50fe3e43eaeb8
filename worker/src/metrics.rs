//! Everything a worker measures, registered once.

use std::time::Duration;

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use shoal_shared::failure::FailureCode;
use shoal_shared::metrics::{BATCH_BUCKETS, LATENCY_BUCKETS, register_all, register_process};
use shoal_shared::prediction::Timings;

use crate::model::{Model, Precision};
use crate::pipeline::Release;

/// A worker's metrics.
pub struct WorkerMetrics {
    /// Jobs by how they ended.
    pub jobs: IntCounterVec,
    /// Jobs given back for another attempt.
    pub retries: IntCounter,
    /// Jobs that had been delivered before.
    pub redelivered: IntCounter,
    /// Runs of the session that failed.
    pub session_failures: IntCounter,
    /// Predictions that could not be cached.
    pub cache_write_failures: IntCounter,
    /// Images that were not hashed again.
    pub digests_vouched: IntCounter,
    /// Time of a job in each stage.
    pub stages: HistogramVec,
    /// Images in a batch.
    pub batch_size: Histogram,
    /// Batches, by why they were closed.
    pub batches: IntCounterVec,
    /// Images inferred.
    pub images: IntCounter,
    /// Busy time of all decode threads.
    pub decode_busy: Counter,
    /// Busy time of all sessions.
    pub session_busy: Counter,
    /// Threads that decode.
    pub decode_threads: IntGauge,
    /// Threads that the sessions compute with at the same time.
    pub session_threads: IntGauge,
    /// Most images in one run.
    pub batch_max: IntGauge,
    /// Jobs that may be held.
    pub slots: IntGauge,
    /// Jobs that are held.
    pub slots_busy: IntGauge,
    /// Time from start to ready.
    pub startup_seconds: Gauge,
    /// Part of it that loading and measuring the model took.
    pub model_load_seconds: Gauge,
    /// Time an image takes in a full batch, as measured then.
    pub image_seconds: Gauge,
    /// The models served.
    pub model_info: IntGaugeVec,
    /// Models loaded, unloaded and failed, by model.
    pub model_changes: IntCounterVec,
    /// Memory of the models that are loaded.
    pub model_bytes: IntGauge,
}

impl WorkerMetrics {
    /// Registers everything; every series exists from the start.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            jobs: IntCounterVec::new(Opts::new("shoal_worker_jobs_total", "Jobs settled, by outcome"), &["outcome"])?,
            retries: IntCounter::new("shoal_worker_retries_total", "Jobs given back for another attempt")?,
            redelivered: IntCounter::new("shoal_worker_redelivered_total", "Jobs that had been delivered before")?,
            session_failures: IntCounter::new("shoal_worker_session_failures_total", "Runs of a session that failed")?,
            cache_write_failures: IntCounter::new(
                "shoal_worker_cache_write_failures_total",
                "Predictions that could not be written to the shared cache",
            )?,
            digests_vouched: IntCounter::new(
                "shoal_worker_digests_vouched_total",
                "Images that were not hashed again: the gateway vouched for the digest",
            )?,
            stages: HistogramVec::new(
                HistogramOpts::new("shoal_worker_stage_seconds", "Time of a job in each stage")
                    .buckets(LATENCY_BUCKETS.to_vec()),
                &["stage"],
            )?,
            batch_size: Histogram::with_opts(
                HistogramOpts::new("shoal_worker_batch_images", "Images in one run of a session")
                    .buckets(BATCH_BUCKETS.to_vec()),
            )?,
            batches: IntCounterVec::new(
                Opts::new("shoal_worker_batches_total", "Batches, by why they were closed"),
                &["reason"],
            )?,
            images: IntCounter::new("shoal_worker_images_total", "Images inferred")?,
            decode_busy: Counter::new(
                "shoal_worker_decode_busy_seconds_total",
                "Time decode threads were working, summed",
            )?,
            session_busy: Counter::new(
                "shoal_worker_session_busy_seconds_total",
                "Time that the cores spent in sessions: one second a second at most",
            )?,
            decode_threads: IntGauge::new("shoal_worker_decode_threads", "Threads that decode")?,
            session_threads: IntGauge::new(
                "shoal_worker_session_threads",
                "Threads that the sessions compute with at the same time",
            )?,
            batch_max: IntGauge::new("shoal_worker_batch_max_images", "Most images in one run of a session")?,
            slots: IntGauge::new("shoal_worker_slots", "Jobs this worker may hold")?,
            slots_busy: IntGauge::new("shoal_worker_slots_busy", "Jobs this worker holds")?,
            startup_seconds: Gauge::new("shoal_worker_startup_seconds", "Time from start to ready")?,
            model_load_seconds: Gauge::new(
                "shoal_worker_model_load_seconds",
                "Time to load the model and to measure its sessions",
            )?,
            image_seconds: Gauge::new(
                "shoal_worker_image_seconds",
                "Time an image takes in a full batch, measured at start",
            )?,
            model_info: IntGaugeVec::new(
                Opts::new("shoal_worker_model_info", "1, by the model served"),
                &["model", "digest", "precision"],
            )?,
            model_changes: IntCounterVec::new(
                Opts::new("shoal_worker_model_changes_total", "Models loaded, unloaded, or found not to be servable"),
                &["model", "change"],
            )?,
            model_bytes: IntGauge::new(
                "shoal_worker_model_bytes",
                "Memory of the models that are loaded, reckoned: each one's file, once for each session that has a copy",
            )?,
        };
        register_process(registry, "worker")?;
        register_all(
            registry,
            &[
                &metrics.jobs,
                &metrics.retries,
                &metrics.redelivered,
                &metrics.session_failures,
                &metrics.cache_write_failures,
                &metrics.digests_vouched,
                &metrics.stages,
                &metrics.batch_size,
                &metrics.batches,
                &metrics.images,
                &metrics.decode_busy,
                &metrics.session_busy,
                &metrics.decode_threads,
                &metrics.session_threads,
                &metrics.batch_max,
                &metrics.slots,
                &metrics.slots_busy,
                &metrics.startup_seconds,
                &metrics.model_load_seconds,
                &metrics.image_seconds,
                &metrics.model_info,
                &metrics.model_changes,
                &metrics.model_bytes,
            ],
        )?;
        Release::ALL.iter().for_each(|reason| drop(metrics.batches.with_label_values(&[reason.as_str()])));
        metrics.jobs.with_label_values(&["prediction"]);
        FailureCode::ALL.iter().for_each(|code| drop(metrics.jobs.with_label_values(&[code.as_str()])));
        Ok(metrics)
    }

    /// A job was settled with an outcome.
    pub fn job_done(&self, outcome: &str, timings: &Timings) {
        self.jobs.with_label_values(&[outcome]).inc();
        let stages = [
            ("queue", timings.queue),
            ("fetch", timings.fetch),
            ("decode", timings.decode),
            ("batch_wait", timings.batch_wait),
            ("infer", timings.infer),
            ("store", timings.store),
        ];
        for (stage, us) in stages {
            self.stages.with_label_values(&[stage]).observe(f64::from(us) / 1e6);
        }
    }

    /// Describes the model served.
    pub fn serves(&self, model: &Model) {
        let labels = [model.manifest.name.as_str(), &model.digest.to_string(), model.precision.as_str()];
        self.model_info.with_label_values(&labels).set(1);
        for change in ["loaded", "unloaded", "failed"] {
            self.model_changes.with_label_values(&[labels[0], change]);
        }
    }

    /// A model is served no more.
    pub fn leaves(&self, model: &str, digest: &str) {
        for precision in [Precision::Float, Precision::Int8] {
            // It has one of them.
            let _ = self.model_info.remove_label_values(&[model, digest, precision.as_str()]);
        }
    }

    /// A session ran; `share` is the part of the cores that it has.
    pub fn session_ran(&self, rows: usize, took: Duration, share: f64) {
        self.batch_size.observe(rows as f64);
        self.images.inc_by(rows as u64);
        self.session_busy.inc_by(took.as_secs_f64() * share);
    }

    /// A batch was closed.
    pub fn released(&self, reason: Release) {
        self.batches.with_label_values(&[reason.as_str()]).inc();
    }
}
