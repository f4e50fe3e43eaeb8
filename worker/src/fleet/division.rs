//! Divides a fleet's workers between its models, where not all of them fit into each worker: by how many
//! jobs come and wait for each, how long one takes, and what memory it needs.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use shoal_scaling::{Demand, Holding, Load, allot};
use shoal_shared::names::{ModelName, NodeId};
use shoal_shared::presence::{HoldState, WorkerStatus};

use super::queues::Queues;
use crate::config::WorkerConfig;

/// Weight of the newest look in the rate of arrivals: the last few seconds count.
const NEWEST: f64 = 0.3;
/// Seconds for an image of a model that no worker has measured yet.
const UNKNOWN: f64 = 0.05;
/// Fewer jobs a second are none: a rate that fades never reaches nothing. Counted in jobs and not in work, or
/// a model that takes microseconds would never have a worker of its own.
const FADED: f64 = 0.05;

/// What is remembered between two looks.
pub(super) struct Division {
    /// Memory that one worker may use.
    memory: u64,
    target_utilisation: f64,
    target_delay: f64,
    /// Jobs a second, by model.
    rates: HashMap<ModelName, f64>,
    looked: Option<Instant>,
}

impl Division {
    pub(super) fn new(config: &WorkerConfig) -> Self {
        Self {
            memory: config.memory(),
            target_utilisation: config.scaling.target_utilisation,
            target_delay: config.scaling.target_delay.as_secs_f64(),
            rates: HashMap::new(),
            looked: None,
        }
    }

    /// The model that each worker keeps; empty when each has room for all.
    pub(super) fn orders(
        &mut self,
        queues: &Queues,
        workers: &[WorkerStatus],
        before: &BTreeMap<NodeId, ModelName>,
    ) -> BTreeMap<NodeId, ModelName> {
        let seconds = self.looked.replace(Instant::now()).map_or(1.0, |looked| looked.elapsed().as_secs_f64());
        for (model, (arrived, _)) in &queues.by_model {
            let rate = self.rates.entry(model.clone()).or_default();
            *rate += NEWEST * (*arrived as f64 / seconds.max(0.05) - *rate);
        }
        let demands: Vec<Demand> = queues.models().iter().map(|model| self.demand(model, queues, workers)).collect();
        let together = demands.iter().fold(0u64, |sum, demand| sum.saturating_add(demand.memory_bytes));
        if queues.models().len() < 2 || together <= self.memory {
            return BTreeMap::new();
        }
        let holdings: Vec<Holding> = workers.iter().map(|worker| holding(worker, queues, before)).collect();
        let allotted = allot(&holdings, &demands, self.memory);
        allotted.into_iter().filter_map(|(worker, model)| Some((worker.parse().ok()?, model.parse().ok()?))).collect()
    }

    fn demand(&self, model: &ModelName, queues: &Queues, workers: &[WorkerStatus]) -> Demand {
        let names = queues.names(model);
        let held = || workers.iter().flat_map(|worker| &worker.models).filter(|held| names.contains(&held.status.name));
        let measured = held().map(|held| f64::from(held.status.image_ms) / 1e3).filter(|seconds| *seconds > 0.0);
        let service = measured.reduce(f64::max).unwrap_or(UNKNOWN);
        let backlog = queues.by_model.get(model).map_or(0, |(_, pending)| *pending) as f64;
        let arrivals = self.rates.get(model).copied().unwrap_or_default();
        let load = Load { arrivals, service, backlog, startup: 0.0, capacity: 0.0 };
        let is_asked = arrivals >= FADED || backlog > 0.0;
        Demand {
            model: model.to_string(),
            wanted: if is_asked { load.wanted(self.target_utilisation, self.target_delay) } else { 0.0 },
            // In whatever version it is largest.
            memory_bytes: held().map(|held| held.memory_bytes).max().unwrap_or_default(),
            ready: 0,
        }
    }
}

fn holding(worker: &WorkerStatus, queues: &Queues, before: &BTreeMap<NodeId, ModelName>) -> Holding {
    let has = |model: &&ModelName| {
        let names = queues.names(model);
        worker.models.iter().any(|held| held.state == HoldState::Ready && names.contains(&held.status.name))
    };
    Holding {
        worker: worker.id.to_string(),
        keeps: before.get(&worker.id).map(ModelName::to_string),
        loaded: queues.models().iter().filter(has).map(ModelName::to_string).collect(),
    }
}
