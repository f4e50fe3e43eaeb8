//! What the fleet is, and what it lacks.

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use shoal_shared::attribution::{Bottleneck, Report, Resource};
use shoal_shared::metrics::register_all;
use shoal_shared::names::ModelName;
use shoal_shared::presence::{WorkerState, WorkerStatus};
use shoal_shared::supervision::SupervisorStatus;

/// What scaling can do, and what is done to a version that fails.
const ACTIONS: [&str; 5] = ["up", "down", "hold", "refuse", "rollback"];

/// The workers and the verdict on them.
pub struct FleetMetrics {
    workers: IntGaugeVec,
    wanted: IntGaugeVec,
    recommended: IntGaugeVec,
    decisions: IntCounterVec,
    bottleneck: IntGaugeVec,
    saturation: GaugeVec,
    headroom: Gauge,
}

impl FleetMetrics {
    /// Registers everything; every series of a closed set exists from the start.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            workers: IntGaugeVec::new(
                Opts::new("shoal_fleet_workers", "Workers, as this gateway hears them"),
                &["model", "state"],
            )?,
            wanted: IntGaugeVec::new(
                Opts::new("shoal_fleet_workers_wanted", "Workers that there are to be"),
                &["model"],
            )?,
            recommended: IntGaugeVec::new(
                Opts::new(
                    "shoal_fleet_workers_recommended",
                    "Workers that the policy would have if nothing were in the way: for other autoscalers",
                ),
                &["model"],
            )?,
            decisions: IntCounterVec::new(
                Opts::new("shoal_fleet_decisions_total", "Scaling decisions, by what was done"),
                &["model", "action"],
            )?,
            bottleneck: IntGaugeVec::new(
                Opts::new("shoal_bottleneck", "1 for the part whose saturation explains the delay, 0 for the others"),
                &["name"],
            )?,
            saturation: GaugeVec::new(
                Opts::new("shoal_saturation_ratio", "Part of a resource that is in use, 0 to 1"),
                &["resource"],
            )?,
            headroom: Gauge::new(
                "shoal_headroom_requests_per_second",
                "Requests a second that could come on top before something is saturated",
            )?,
        };
        register_all(
            registry,
            &[
                &metrics.workers,
                &metrics.wanted,
                &metrics.recommended,
                &metrics.decisions,
                &metrics.bottleneck,
                &metrics.saturation,
                &metrics.headroom,
            ],
        )?;
        Bottleneck::ALL.iter().for_each(|name| drop(metrics.bottleneck.with_label_values(&[name.as_str()])));
        Resource::ALL.iter().for_each(|one| drop(metrics.saturation.with_label_values(&[one.as_str()])));
        Ok(metrics)
    }

    /// The workers of one model, and what its supervisors say.
    pub fn workers(&self, model: &ModelName, workers: &[WorkerStatus], supervisors: &[SupervisorStatus]) {
        ACTIONS.iter().for_each(|action| drop(self.decisions.with_label_values(&[model.as_str(), action])));
        for (state, word) in [(WorkerState::Ready, "ready"), (WorkerState::Draining, "draining")] {
            let serving = workers.iter().filter_map(|worker| worker.as_serving(model));
            let count = serving.filter(|worker| worker.state == state).count();
            self.workers.with_label_values(&[model.as_str(), word]).set(count as i64);
            if state == WorkerState::Ready {
                // Where nobody supervises, those that are there are wanted.
                let told = |of: fn(&SupervisorStatus) -> usize| supervisors.iter().map(of).reduce(|a, b| a + b);
                // The sum would count twice what one supervisor has just taken over from another.
                let in_all = supervisors.first().and_then(|newest| newest.wanted_in_all);
                let wanted = in_all.or_else(|| told(|status| status.wanted)).unwrap_or(count);
                let recommended = supervisors.iter().map(|status| status.recommended).max().unwrap_or(count);
                self.wanted.with_label_values(&[model.as_str()]).set(wanted as i64);
                self.recommended.with_label_values(&[model.as_str()]).set(recommended as i64);
            }
        }
    }

    /// A scaling decision was heard; `action` is of a closed set, anything else counts as `other`.
    pub fn decided(&self, model: &ModelName, action: &str) {
        let action = ACTIONS.iter().find(|known| **known == action).unwrap_or(&"other");
        self.decisions.with_label_values(&[model.as_str(), action]).inc();
    }

    /// The verdict.
    pub fn attributed(&self, report: &Report) {
        for name in Bottleneck::ALL {
            self.bottleneck.with_label_values(&[name.as_str()]).set((name == report.name).into());
        }
        for saturation in &report.saturation {
            self.saturation.with_label_values(&[saturation.resource.as_str()]).set(saturation.ratio);
        }
        // Without workers there is nothing to reckon with.
        self.headroom.set(report.headroom.unwrap_or(f64::NAN));
    }
}
