//! What the holder looks at between two rounds: files, queues, sessions.

use shoal_nats::backlog::Backlog;
use shoal_shared::names::{Lane, ModelName};

use super::{Holder, Phase};
use crate::serving::residency::Claim;

impl Holder {
    /// Reads the files of models that may wait for their first job: gateways need the digest to ask for one.
    pub(super) async fn describe(&mut self) {
        for name in self.assigned.models.clone() {
            let loader = self.loader.clone();
            let is_known = self.held.iter().any(|held| held.identity.name == name);
            if is_known || self.catalog.record(&name).is_some() {
                continue;
            }
            match tokio::task::spawn_blocking(move || loader.store.describe(&name)).await {
                Ok(Ok(status)) => drop(self.described.insert(status.name.clone(), status)),
                // It will be said again, and louder, when it is to be loaded.
                Ok(Err(error)) => tracing::warn!(%error, "a model cannot be read"),
                Err(_) => {}
            }
        }
    }

    /// Whether jobs wait in a model's lanes; while the broker is gone, they may.
    pub(super) async fn jobs_wait(&self, name: &ModelName) -> bool {
        if !self.means.bus.is_up() {
            return true;
        }
        self.some_lane(name, |lane| lane.pending > 0).await
    }

    /// Whether one of a model's lanes is so, as far as they can be read.
    pub(super) async fn some_lane(&self, name: &ModelName, is_so: impl Fn(Backlog) -> bool) -> bool {
        for lane in Lane::ALL {
            if self.means.bus.backlog(name, lane).await.is_ok_and(&is_so) {
                return true;
            }
        }
        false
    }

    /// Resolves when the session of a model has failed too often.
    pub(super) fn breaks(&self) -> impl Future<Output = ()> + Send + use<> {
        let served = self.held.iter().filter_map(|held| match &held.phase {
            Phase::Serving(served) => Some(served.breaks()),
            _ => None,
        });
        let broken = served.map(|mut broken| {
            Box::pin(async move {
                if broken.wait_for(|broken| *broken).await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        let broken: Vec<_> = broken.collect();
        async move {
            if broken.is_empty() {
                return std::future::pending().await;
            }
            futures_util::future::select_all(broken).await;
        }
    }

    /// Looks whether jobs wait for a model that is not loaded.
    pub(super) async fn look_for_jobs(&mut self) {
        if !self.means.bus.is_up() {
            return;
        }
        for wish in self.wishes() {
            let name = &wish.identity.name;
            let is_held = self.held.iter().any(|held| held.identity.name == *name);
            if wish.claim != Claim::OnDemand || is_held || self.barred.contains_key(name) {
                continue;
            }
            let mut queues = vec![name.clone()];
            queues.extend((wish.is_live && wish.identity.pushed.is_some()).then(|| wish.identity.model.clone()));
            let mut waits = false;
            for queue in queues {
                waits = waits || self.jobs_wait(&queue).await;
            }
            if waits {
                self.waited.insert(name.clone())
            } else {
                self.waited.remove(name)
            };
        }
    }
}
