//! What is told of the models here: in heartbeats, and in metrics of all of them together.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use shoal_shared::names::ModelName;
use shoal_shared::presence::{HoldState, ModelStatus};

use super::{Holder, Phase};
use crate::serving::residency::Claim;
use crate::serving::roll::{Line, Tally};
use crate::serving::wishes::{Identity, Wish};

impl Holder {
    /// Writes the roll, the most wanted first, and what all of them are together.
    pub(super) fn tell(&self, wishes: &[Wish]) {
        let mut lines = Vec::new();
        let order = wishes.iter().map(|wish| &wish.identity.name);
        let rest = self.held.iter().map(|held| &held.identity.name);
        let mut seen = HashSet::new();
        for name in order.chain(rest).filter(|name| seen.insert((*name).clone())) {
            let wish = wishes.iter().find(|wish| wish.identity.name == *name);
            lines.extend(self.line(name, wish));
        }
        let metrics = &self.means.metrics;
        let serving = self.held.iter().filter_map(|held| match &held.phase {
            Phase::Serving(served) => Some(served),
            _ => None,
        });
        let (mut memory, mut most) = (0, 0);
        for served in serving {
            (memory, most) = (memory + served.bytes(), most.max(served.in_flight()));
        }
        metrics.model_bytes.set(memory as i64);
        metrics.batch_max.set(most as i64);
        metrics.decode_threads.set(lines.iter().map(|line| line.decoders as i64).sum());
        metrics.slots.set(lines.iter().flat_map(|line| &line.slots).map(|(_, capacity)| *capacity as i64).sum());
        self.roll.write(lines);
    }

    fn line(&self, name: &ModelName, wish: Option<&Wish>) -> Option<Line> {
        let held = self.held.iter().find(|held| held.identity.name == *name);
        let outline = |identity: &Identity, state: HoldState, reason: Option<String>| Line {
            status: self.described.get(&identity.name).cloned().unwrap_or_else(|| outline(identity)),
            state,
            reason,
            slots: Vec::new(),
            tally: Arc::new(Tally::default()),
            memory_bytes: self.loader.reckon(identity),
            loaded_in: Duration::ZERO,
            decoders: 0,
            int8_would_help: false,
        };
        if let Some(held) = held {
            return Some(match &held.phase {
                Phase::Loading(_) => outline(&held.identity, HoldState::Loading, None),
                Phase::Serving(served) => served.line(),
                Phase::Leaving(line) => (**line).clone(),
            });
        }
        let wish = wish?;
        if let Some(barred) = self.barred.get(name) {
            return Some(outline(&wish.identity, HoldState::Failed, Some(barred.reason.clone())));
        }
        match wish.claim {
            Claim::Kept => None,
            // Pinned ones are loaded whether they fit or not.
            Claim::OnDemand | Claim::Beside if self.loader.reckon(&wish.identity) > self.budget => {
                let (needs, has) = (self.loader.reckon(&wish.identity), self.budget);
                let reason = format!("it needs {needs} bytes, worker.memory_budget is {has}");
                Some(outline(&wish.identity, HoldState::Failed, Some(reason)))
            }
            Claim::Beside => Some(outline(&wish.identity, HoldState::Waiting, Some("there is no room yet".into()))),
            Claim::OnDemand | Claim::Pinned => Some(outline(&wish.identity, HoldState::Unloaded, None)),
        }
    }
}

/// What is known of a model before it is loaded.
fn outline(identity: &Identity) -> ModelStatus {
    let digest = identity.pushed.as_ref().map(|pushed| pushed.digest.clone());
    ModelStatus::outline(identity.name.clone(), digest.unwrap_or_default())
}
