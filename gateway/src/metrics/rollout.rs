//! What each version of a model answers, and how versions compare.

use std::time::Duration;

use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use serde::Serialize;
use shoal_shared::metrics::{LATENCY_BUCKETS, register_all};
use shoal_shared::names::ModelName;

/// What came of asking a shadow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shadowed {
    /// It answered.
    Compared {
        /// Whether its first class is the one that was answered.
        agrees: bool,
        /// Mean absolute difference of probabilities.
        difference: f64,
    },
    /// It did not answer.
    Failed,
    /// It was not asked, for want of room.
    Dropped,
}

const SHADOW_OUTCOMES: [&str; 4] = ["agree", "disagree", "failed", "dropped"];

/// What was counted of a shadow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ShadowCounts {
    /// Images on which its first class is the live version's.
    pub agree: u64,
    /// Images on which it is not.
    pub disagree: u64,
    /// Images without an answer.
    pub failed: u64,
    /// Images left out.
    pub dropped: u64,
    /// Mean absolute difference of probabilities; absent without a comparison.
    pub mean_difference: Option<f64>,
}

/// Versions, by the name each is served under.
pub struct RolloutMetrics {
    answers: IntCounterVec,
    seconds: HistogramVec,
    fallbacks: IntCounterVec,
    shadow: IntCounterVec,
    difference: CounterVec,
    /// Versions withdrawn, by model.
    pub rollbacks: IntCounterVec,
}

impl RolloutMetrics {
    /// Registers everything.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            answers: IntCounterVec::new(
                Opts::new(
                    "shoal_gateway_model_answers_total",
                    "Answers computed by workers, by the name a version is served under; error: the model's or the \
                     fleet's fault",
                ),
                &["model", "outcome"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new("shoal_gateway_model_seconds", "Time of answers computed by workers, by version")
                    .buckets(LATENCY_BUCKETS.to_vec()),
                &["model"],
            )?,
            fallbacks: IntCounterVec::new(
                Opts::new("shoal_gateway_model_fallbacks_total", "Images that another version answered for this one"),
                &["model"],
            )?,
            shadow: IntCounterVec::new(
                Opts::new(
                    "shoal_gateway_shadow_images_total",
                    "Images a shadow was asked, by whether its first class is the one that was answered",
                ),
                &["model", "outcome"],
            )?,
            difference: CounterVec::new(
                Opts::new(
                    "shoal_gateway_shadow_difference_total",
                    "Mean absolute difference of a shadow's probabilities, summed over the images compared",
                ),
                &["model"],
            )?,
            rollbacks: IntCounterVec::new(
                Opts::new(
                    "shoal_gateway_model_rollbacks_total",
                    "Versions withdrawn by this gateway because they failed",
                ),
                &["model"],
            )?,
        };
        register_all(
            registry,
            &[
                &metrics.answers,
                &metrics.seconds,
                &metrics.fallbacks,
                &metrics.shadow,
                &metrics.difference,
                &metrics.rollbacks,
            ],
        )?;
        Ok(metrics)
    }

    /// A model is known: its series exist from now on.
    pub fn know(&self, served: &ModelName, model: &ModelName) {
        let labels = [served.as_str()];
        for outcome in ["ok", "error"] {
            self.answers.with_label_values(&[served.as_str(), outcome]);
        }
        SHADOW_OUTCOMES.iter().for_each(|outcome| drop(self.shadow.with_label_values(&[served.as_str(), outcome])));
        drop((self.seconds.with_label_values(&labels), self.fallbacks.with_label_values(&labels)));
        drop((self.difference.with_label_values(&labels), self.rollbacks.with_label_values(&[model.as_str()])));
    }

    pub(crate) fn answered(&self, served: &ModelName, took: Option<Duration>, is_error: bool) {
        let outcome = if is_error { "error" } else { "ok" };
        self.answers.with_label_values(&[served.as_str(), outcome]).inc();
        if let Some(took) = took {
            self.seconds.with_label_values(&[served.as_str()]).observe(took.as_secs_f64());
        }
    }

    pub(crate) fn fell_back(&self, served: &ModelName) {
        self.fallbacks.with_label_values(&[served.as_str()]).inc();
    }

    pub(crate) fn shadowed(&self, served: &ModelName, outcome: Shadowed) {
        let word = match outcome {
            Shadowed::Compared { agrees: true, .. } => "agree",
            Shadowed::Compared { agrees: false, .. } => "disagree",
            Shadowed::Failed => "failed",
            Shadowed::Dropped => "dropped",
        };
        if let Shadowed::Compared { difference, .. } = outcome {
            self.difference.with_label_values(&[served.as_str()]).inc_by(difference);
        }
        self.shadow.with_label_values(&[served.as_str(), word]).inc();
    }

    /// Answers of a version so far: all right, and errors.
    pub fn answers(&self, served: &ModelName) -> (u64, u64) {
        let count = |outcome| self.answers.with_label_values(&[served.as_str(), outcome]).get();
        (count("ok"), count("error"))
    }

    /// What was counted of a shadow so far.
    pub fn shadow(&self, served: &ModelName) -> ShadowCounts {
        let [agree, disagree, failed, dropped] =
            SHADOW_OUTCOMES.map(|outcome| self.shadow.with_label_values(&[served.as_str(), outcome]).get());
        let compared = agree + disagree;
        let sum = self.difference.with_label_values(&[served.as_str()]).get();
        let mean_difference = (compared > 0).then(|| sum / compared as f64);
        ShadowCounts { agree, disagree, failed, dropped, mean_difference }
    }
}
