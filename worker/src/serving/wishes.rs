//! Which models are to be in this process: those it was told to serve, in the versions that the catalog
//! has a use for.

use std::sync::Arc;

use shoal_nats::catalog::CatalogView;
use shoal_shared::catalog::{CatalogRecord, Pushed, Role};
use shoal_shared::digest::ModelDigest;
use shoal_shared::names::{ModelName, Version};

use super::residency::Claim;

/// A model to be held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) identity: Identity,
    pub(crate) claim: Claim,
    /// Whether it answers those who name the model and no version.
    pub(crate) is_live: bool,
}

/// What a served model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name of its queue, its heartbeat and its metrics.
    pub(crate) name: ModelName,
    /// The model that people ask for.
    pub(crate) model: ModelName,
    /// Its version and what that holds; absent for a model of the local folder that was never pushed.
    pub(crate) pushed: Option<PushedVersion>,
}

impl Identity {
    /// A version of a model, which is served under a name of its own.
    fn of(model: &ModelName, name: &ModelName, version: &Version, pushed: &Pushed) -> Self {
        let pushed = PushedVersion { version: version.clone(), digest: pushed.digest.clone(), bytes: pushed.bytes };
        Self { name: name.clone(), model: model.clone(), pushed: Some(pushed) }
    }
}

/// A version in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushedVersion {
    pub(crate) version: Version,
    pub(crate) digest: ModelDigest,
    pub(crate) bytes: u64,
}

/// What was asked for on the command line or in the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Assigned {
    pub(crate) models: Vec<ModelName>,
    pub(crate) pinned: Vec<ModelName>,
}

impl Assigned {
    /// The claim of a model's live version.
    fn claim(&self, model: &ModelName, ordered: Option<&ModelName>) -> Claim {
        let is_pinned = self.models.len() == 1 || self.pinned.contains(model) || ordered == Some(model);
        if is_pinned { Claim::Pinned } else { Claim::OnDemand }
    }

    /// Everything that is to be here. Where the live version is barred, the one before stands in.
    pub(crate) fn wishes(
        &self,
        catalog: &CatalogView,
        ordered: Option<&ModelName>,
        is_barred: impl Fn(&ModelName) -> bool,
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for model in &self.models {
            let claim = self.claim(model, ordered);
            let Some(record) = catalog.record(model) else {
                let identity = Identity { name: model.clone(), model: model.clone(), pushed: None };
                wishes.push(Wish { identity, claim, is_live: true });
                continue;
            };
            let served = catalog.served_names(model);
            let live_is_barred = served.iter().any(|(name, _, role)| *role == Role::Live && is_barred(name));
            for (name, version, role) in served {
                let Some(pushed) = record.versions.get(&version) else { continue };
                let identity = Identity::of(model, &name, &version, pushed);
                let claim = match role {
                    Role::Live => claim,
                    Role::Canary | Role::Shadow => Claim::Beside,
                    Role::Previous if live_is_barred => claim,
                    Role::Previous => Claim::Kept,
                };
                wishes.push(Wish { identity, claim, is_live: role == Role::Live });
            }
            if live_is_barred && record.previous.is_none() {
                // As it was before anything was pushed, if it is still there.
                let identity = Identity { name: model.clone(), model: model.clone(), pushed: None };
                wishes.push(Wish { identity, claim, is_live: false });
            }
        }
        wishes
    }

    /// Every version in the catalog of the models to be served, whether it has a use or not.
    pub(crate) fn every_version(&self, catalog: &CatalogView) -> Vec<Identity> {
        let records = self.models.iter().filter_map(|model| Some((model, catalog.record(model)?)));
        let of_record = |(model, record): (&ModelName, Arc<CatalogRecord>)| {
            let identity = |(version, pushed)| Some(Identity::of(model, &model.served(version).ok()?, version, pushed));
            record.versions.iter().filter_map(identity).collect::<Vec<_>>()
        };
        records.flat_map(of_record).collect()
    }
}
