//! Versions that nobody wishes any more. Gateways hear of a change at other moments than workers: for a
//! while they go on publishing to the version before, and every job that is accepted is answered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shoal_nats::backlog::Backlog;
use shoal_shared::names::ModelName;

use super::Holder;
use crate::serving::residency::Claim;
use crate::serving::wishes::{Identity, Wish};

/// So long a version takes jobs when it is not wished any more, until every gateway has heard of it.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often it is looked whether jobs lie in the queue of a version that is held nowhere.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A broker that takes longer is asked another time: changes of models wait for the answer.
const LOOK_AT_MOST: Duration = Duration::from_secs(1);

/// Versions that jobs were left behind with: a worker died with them, or a gateway heard of a change late.
#[derive(Default)]
pub(super) struct Stranded {
    looked: Option<Instant>,
    /// Those with jobs that nobody asks for, and whether that was so the last time already.
    found: HashMap<ModelName, (Identity, bool)>,
}

impl Stranded {
    /// What is wished for the sake of those jobs, beside everything else that is wished.
    pub(super) fn join(&self, mut wishes: Vec<Wish>) -> Vec<Wish> {
        for (identity, _) in self.found.values().filter(|(_, twice)| *twice) {
            match wishes.iter_mut().find(|wish| wish.identity == *identity) {
                Some(wish) => wish.claim = wish.claim.max(Claim::Beside),
                None => wishes.push(Wish { identity: identity.clone(), claim: Claim::Beside, is_live: false }),
            }
        }
        wishes
    }
}

impl Holder {
    /// Unloads what is not wished any more once nobody can have published to it, and no job is left.
    pub(super) async fn let_go_of_the_unwished(&mut self, wishes: &[Wish]) {
        let now = Instant::now();
        for held in &mut self.held {
            let is_wished = wishes.iter().any(|wish| wish.identity.name == held.identity.name);
            held.unwished = if is_wished { None } else { held.unwished.or(Some(now)) };
        }
        // A model that was never pushed shares its queue with the version that takes over.
        let is_over = |identity: &Identity, since: Instant| identity.pushed.is_none() || since + FAREWELL <= now;
        let unwished =
            self.held.iter().filter(|held| held.unwished.is_some_and(|since| is_over(&held.identity, since)));
        for name in unwished.map(|held| held.identity.name.clone()).collect::<Vec<_>>() {
            // Jobs that were published to it are its own: no other version pulls them.
            if !self.stands_in(&name, wishes) && !self.jobs_wait(&name).await {
                self.unload(&name);
            }
        }
    }

    /// Whether a model that is not wished any more answers until the live version is here.
    fn stands_in(&self, name: &ModelName, wishes: &[Wish]) -> bool {
        let Some(held) = self.held.iter().find(|held| held.identity.name == *name) else { return false };
        let live = wishes.iter().find(|wish| wish.is_live && wish.identity.model == held.identity.model);
        live.is_some_and(|live| !self.is_serving(&live.identity.name))
    }

    /// Looks, now and then, whether jobs lie in the queue of a version that nobody pulls for. Found twice, it is
    /// loaded for them, and stays until they are answered.
    pub(super) async fn look_for_stranded_jobs(&mut self) {
        if self.stranded.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) || !self.means.bus.is_up() {
            return;
        }
        self.stranded.looked = Some(Instant::now());
        if let Ok(found) = tokio::time::timeout(LOOK_AT_MOST, self.left_behind()).await {
            self.stranded.found = found;
        }
    }

    async fn left_behind(&self) -> HashMap<ModelName, (Identity, bool)> {
        let wishes = self.assigned_wishes();
        let looks = self.assigned.every_version(&self.catalog).into_iter().filter_map(|identity| {
            let wish = wishes.iter().find(|wish| wish.identity == identity);
            let is_held = self.held.iter().any(|held| held.identity == identity);
            let is_known = self.stranded.found.contains_key(&identity.name);
            let is_case = match wish {
                // What is to be loaded for its own sake needs no other reason, and the one before stays while it is here.
                Some(wish) => wish.claim == Claim::Kept && !is_held,
                // What is on its way out sees to its jobs itself.
                None => !is_held || is_known,
            };
            // Unless it is held here, nobody must be waiting for more.
            let has_jobs =
                move |lane: Backlog| lane.pending + lane.in_flight > 0 && (is_held || lane.waiting_pulls == 0);
            is_case.then_some(async move {
                let found = self.some_lane(&identity.name, has_jobs).await;
                found.then(|| (identity.name.clone(), (identity, is_known)))
            })
        });
        join_all(looks).await.into_iter().flatten().collect()
    }
}
