//! What waits for a fleet: every model it serves, in every version that is in use.

use std::collections::HashMap;

use shoal_nats::Bus;
use shoal_nats::backlog::Backlog;
use shoal_nats::catalog::CatalogView;
use shoal_scaling::Queue;
use shoal_shared::names::{Lane, ModelName};

/// The queues of a fleet's models.
pub(super) struct Queues {
    models: Vec<ModelName>,
    catalog: CatalogView,
    /// What was published and settled at the last look, by queue.
    before: HashMap<ModelName, (u64, u64)>,
    /// Both, since this was made: a version that comes or goes is no rush of jobs and no standstill.
    sum: (u64, u64),
    /// Jobs published since the last look, and those that wait, by model.
    pub(super) by_model: HashMap<ModelName, (u64, u64)>,
}

impl Queues {
    pub(super) fn new(models: Vec<ModelName>, catalog: CatalogView) -> Self {
        Self { models, catalog, before: HashMap::new(), sum: (0, 0), by_model: HashMap::new() }
    }

    pub(super) fn models(&self) -> &[ModelName] {
        &self.models
    }

    /// Names under which a model is served.
    pub(super) fn names(&self, model: &ModelName) -> Vec<ModelName> {
        let versions = self.catalog.served_names(model).into_iter().map(|(name, ..)| name);
        std::iter::once(model.clone()).chain(versions).collect()
    }

    /// Names under which any of the models is served.
    pub(super) fn all_names(&self) -> Vec<ModelName> {
        self.models.iter().flat_map(|model| self.names(model)).collect()
    }

    /// All of them as one; `None` when the broker does not tell.
    pub(super) async fn look(&mut self, bus: &Bus) -> Option<Queue> {
        if !bus.is_up() {
            return None;
        }
        let (mut whole, mut before) = (Queue::default(), HashMap::new());
        self.by_model.clear();
        for model in self.models.clone() {
            for name in self.names(&model) {
                let [interactive, bulk] = Lane::ALL.map(|lane| bus.backlog(&name, lane));
                let (interactive, bulk): (Backlog, Backlog) = tokio::try_join!(interactive, bulk).ok()?;
                let pending = interactive.pending + bulk.pending;
                whole.pending += pending;
                whole.ack_pending += interactive.in_flight + bulk.in_flight;
                let published = interactive.delivered + bulk.delivered + pending;
                let settled = interactive.settled() + bulk.settled();
                let (then, done) = self.before.get(&name).copied().unwrap_or((published, settled));
                let arrived = published.saturating_sub(then);
                self.sum.0 += arrived;
                self.sum.1 += settled.saturating_sub(done);
                before.insert(name, (published, settled));
                let of_model = self.by_model.entry(model.clone()).or_default();
                *of_model = (of_model.0 + arrived, of_model.1 + pending);
            }
        }
        self.before = before;
        (whole.published, whole.settled) = self.sum;
        Some(whole)
    }
}
